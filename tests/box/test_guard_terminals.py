"""The guard's warning reaches whoever sits at a terminal of the box, and no program's output."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import paramiko
import pytest

from box.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import TestBox

_SECONDS = 60
_WARNING = b"powers itself off in"
_WHY = b"its time to live of"
_STREAM = 4 << 20


@pytest.fixture
def connect(box: TestBox) -> Iterator[Callable[[], paramiko.SSHClient]]:
    """Log in once more."""
    kind, key = box.host_key.split()
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"[{box.host}]:{box.port} {kind} {key}")
    assert entry is not None
    assert entry.key is not None
    known = entry.key
    with contextlib.ExitStack() as ends:

        def one() -> paramiko.SSHClient:
            client = ends.enter_context(paramiko.SSHClient())
            client.get_host_keys().add(f"[{box.host}]:{box.port}", kind, known)
            client.connect(
                box.host, box.port, box.user, box.password, allow_agent=False, look_for_keys=False, timeout=_SECONDS
            )
            return client

        yield one


class Reading:
    """Everything that comes out of a channel, read all the time."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel
        self.data = b""
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, words: bytes, after: int = 0) -> bytes:
        """Wait for `words` behind the first `after` bytes; all that has come."""
        with self._more:
            assert self._more.wait_for(lambda: words in self.data[after:], _SECONDS), (words, self.data[-2000:])
            return self.data

    def _read(self) -> None:
        while data := self.channel.recv(1 << 16):
            with self._more:
                self.data += data
                self._more.notify_all()


def _run(client: paramiko.SSHClient, command: str, *, terminal: bool) -> Reading:
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session(timeout=_SECONDS)
    if terminal:
        channel.get_pty()
    channel.set_combine_stderr(True)
    channel.exec_command(command)
    return Reading(channel)


def test_every_terminal_shows_it_and_nothing_else_does(box: TestBox, connect: Callable[[], paramiko.SSHClient]) -> None:
    guarded = Guarded(box)
    first, second = connect(), connect()
    shell = Reading(first.invoke_shell())
    shell.channel.sendall(b"echo rea''dy\n")
    # As `ssh -tt box COMMAND`: one that only waits, one whose terminal is in raw mode as an editor's is.
    waiting = _run(first, "echo ready; sleep 1000", terminal=True)
    raw = _run(second, "stty raw -echo; echo ready; cat", terminal=True)
    # Somebody has pressed Ctrl-S and gone for lunch: the guard does not wait for him.
    held = _run(second, "echo ready; sleep 1000", terminal=True)
    for reading in (shell, waiting, raw, held):
        reading.until(b"ready")
    held.channel.sendall(b"\x13")
    # Without a terminal: a program that is talked to, and bytes that are piped somewhere.
    talk = _run(first, "cat", terminal=False)
    stream = _run(second, f"head -c {_STREAM} /dev/zero; read -r _; head -c {_STREAM} /dev/zero", terminal=False)
    talk.channel.sendall(b"before\n")
    talk.until(b"before\n")

    guarded.guard(ttl="20s")
    for reading in (shell, waiting, raw):
        shown = reading.until(_WHY)
        assert _WARNING in shown
    assert guarded.state()["stage"] == "warned"
    guarded.boxctl("guard", "--extend", "3600")

    assert _WARNING not in held.data
    talk.channel.sendall(b"after\n")
    assert talk.until(b"after\n") == b"before\nafter\n"
    stream.channel.sendall(b"\n")
    assert stream.channel.recv_exit_status() == 0
    assert len(stream.until(bytes(1))) <= 2 * _STREAM
    assert set(stream.data) == {0}
    # They go on, too; it was said once, and that the box stays on after all.
    for reading in (shell, waiting, raw):
        reading.until(b"stays on")
    shell.channel.sendall(b"echo still''here\n")
    assert shell.until(b"stillhere").count(_WARNING) == 1
    raw.channel.sendall(b"typed")
    assert raw.until(b"typed").count(_WARNING) == 1
    assert not waiting.channel.exit_status_ready()
    assert not talk.channel.exit_status_ready()
