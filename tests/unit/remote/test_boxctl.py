"""What boxctl says, and what it means when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.errors import LinkLost, RemoteCommandFailed
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.remote.login import Login

    from .server import BoxServer


@pytest.fixture
def boxctl(login: Login, server: BoxServer) -> Iterator[Callable[[str], Boxctl]]:
    """A client for a `boxctl` that is this shell script."""
    root = server.home / "the root"
    with Host(login) as host:

        def make(script: str) -> Boxctl:
            (root / "bin").mkdir(parents=True)
            program = root / "bin" / "boxctl"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            return Boxctl(host, str(root))

        yield make


def test_call_returns_the_object_and_passes_arguments_and_stdin(boxctl: Callable[[str], Boxctl]) -> None:
    client = boxctl("""printf '{"arguments": "%s", "stdin": "%s"}' "$*" "$(cat)" """)
    answer = client.call("job", "start", "it's; one", stdin=b"spec")
    assert answer == {"arguments": "job start it's; one", "stdin": "spec"}


def test_its_own_error_is_the_message(boxctl: Callable[[str], Boxctl]) -> None:
    client = boxctl("""echo noise >&2; echo '{"error": "no job `x`", "hint": "boxctl job list"}'; exit 1""")
    with pytest.raises(RemoteCommandFailed) as caught:
        client.call("job", "cancel", "x")
    assert (caught.value.message, caught.value.where, caught.value.hint) == ("no job `x`", "demo", "boxctl job list")


def test_a_failure_without_json_shows_its_last_words(boxctl: Callable[[str], Boxctl]) -> None:
    with pytest.raises(RemoteCommandFailed, match=r"(?s)`boxctl status` ended with exit code 1.*disk is full"):
        boxctl("echo the disk is full >&2; exit 1").call("status")


@pytest.mark.parametrize("answer", ["", "[1]", "hello"])
def test_an_answer_that_is_no_object_is_told(boxctl: Callable[[str], Boxctl], answer: str) -> None:
    with pytest.raises(RemoteCommandFailed, match="answered no JSON object"):
        boxctl(f"echo '{answer}'").call("status")


def test_a_box_without_boxctl_says_what_to_run(login: Login) -> None:
    with Host(login) as host, pytest.raises(RemoteCommandFailed, match="not set up on the box") as caught:
        Boxctl(host, "/nowhere").call("status")
    assert caught.value.hint == "gpubox up demo"


def test_stream_hands_over_lines(boxctl: Callable[[str], Boxctl]) -> None:
    lines: list[str] = []
    boxctl("echo one; echo two").stream("follow", "r1", "--offset", "0", on_line=lines.append)
    assert lines == ["one", "two"]


def test_a_stream_that_ends_badly(boxctl: Callable[[str], Boxctl]) -> None:
    lines: list[str] = []
    with pytest.raises(RemoteCommandFailed, match="no log of `x`"):
        boxctl("""echo one; echo '{"error": "no log of `x`"}'; exit 1""").stream("logs", "x", on_line=lines.append)
    assert lines[0] == "one"


def test_a_silent_stream_is_a_lost_link(boxctl: Callable[[str], Boxctl]) -> None:
    with pytest.raises(LinkLost):
        boxctl("sleep 600").stream("follow", "r1", on_line=lambda _line: None, silence=0.3)
