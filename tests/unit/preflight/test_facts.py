"""Facts out of what a box answers."""

from __future__ import annotations

import pytest

from gpubox.errors import Failed
from gpubox.remote.facts import command, parse, read_facts
from gpubox.remote.host import Result


def test_command_quotes() -> None:
    assert command("/data/my disk", [8000, 3000]) == "env 'GPUBOX_PORTS=8000 3000' sh -s -- '/data/my disk'"


class OneAnswer:
    """A host that answers every command with the same text."""

    def __init__(self, stdout: str) -> None:
        self.stdout = stdout
        self.commands: list[str] = []

    def run(self, command: str, **_: object) -> Result:
        self.commands.append(command)
        return Result(0, self.stdout, "")


def test_greetings_around_the_answer() -> None:
    host = OneAnswer('+--- AutoDL ---+\nWelcome {you}\r\n\x1b[1m{"gpubox_facts":1,"system":{"user":"root"}}\r\nbye\n')
    facts = read_facts(host, "/data", ports=[8000])  # type: ignore[arg-type]
    assert facts.system.user == "root"
    assert facts.read_at is not None
    assert len(host.commands) == 1


@pytest.mark.parametrize("said", ["", "This account is currently not available.\n"])
def test_no_answer(said: str) -> None:
    with pytest.raises(Failed) as caught:
        read_facts(OneAnswer(said))  # type: ignore[arg-type]
    assert said.strip() in caught.value.message
    assert ".bashrc" in (caught.value.hint or "")


@pytest.mark.parametrize("said", ['{"gpubox_facts":1,"system":{"us', '{"gpubox_facts":1,"disks":[{"size":"big"}]}'])
def test_a_broken_answer(said: str) -> None:
    with pytest.raises(Failed, match="cannot be read"):
        parse(said)
