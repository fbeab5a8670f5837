"""`gpubox ssh`: the exit code of ssh is ours, and a signal reaches it."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from gpubox import reach, shell
from gpubox.errors import Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import Whereabouts
from gpubox.remote.login import Endpoint
from waits import until

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.ledger import BoxRecord


class Rents:
    """A provider that knows where its box is, or that it is off."""

    releases = True

    def __init__(self, port: int | None) -> None:
        self.port = port

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """There."""
        return Whereabouts(Endpoint("127.0.0.1", self.port)) if self.port else None

    def state(self, record: BoxRecord) -> str:
        """By its port."""
        return "running" if self.port else "stopped"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box in the ledger, and an ssh that says to which port it was sent and does what the script `does` says."""
    with Ledger() as ledger:
        ledger.add("mybox", "autodl", state="running", provider_ref="pro-1", host="127.0.0.1", port=22,
                   user="root", host_key="ssh-ed25519 AAAA", identity_file=tmp_path / "id")  # fmt: skip
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\ngrep -h Port "$2" >>{tmp_path}/ports\n. {tmp_path}/does\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=":")
    place(monkeypatch, 22)
    return tmp_path


def place(monkeypatch: pytest.MonkeyPatch, port: int | None) -> None:
    for module in (shell, reach):
        monkeypatch.setattr(module, "provider", lambda _name: Rents(port))


def ports(box: Path) -> list[str]:
    return [line.split()[1] for line in (box / "ports").read_text().splitlines()]


@pytest.mark.parametrize(("does", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -INT $$", 130)])
def test_its_exit_code_is_told(box: Path, does: str, code: int) -> None:
    (box / "does").write_text(does)
    assert shell.shell("mybox", ["true"], say=pytest.fail) == code
    assert ports(box) == ["22"]


def test_a_box_that_has_moved_is_tried_where_it_is_now(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "does").write_text(f"[ $(wc -l <{box}/ports) -eq 2 ] || exit 255")
    place(monkeypatch, 2222)
    said: list[str] = []
    assert shell.shell("mybox", [], say=said.append) == 0
    assert ports(box) == ["22", "2222"]
    assert said == ["`mybox` answers at root@127.0.0.1:2222 now"]


def test_a_box_that_is_off_is_told_as_off(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "does").write_text("exit 255")
    place(monkeypatch, None)
    with pytest.raises(Unreachable, match="is powered off"):
        shell.shell("mybox", [], say=pytest.fail)


def test_who_ends_us_ends_ssh(box: Path) -> None:
    (box / "does").write_text("while :; do sleep 0.1; done")

    def end() -> None:
        until(lambda: (box / "ports").exists() and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    ends = threading.Thread(target=end)
    ends.start()
    assert shell.shell("mybox", [], say=pytest.fail) == 128 + signal.SIGTERM
    ends.join(60)
