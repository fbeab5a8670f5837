"""A conversation over a forwarded socket that breaks in the middle of anything."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import LinkLost
from gpubox.remote.transfer_channel import Channel
from gpubox.remote.transfer_session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpubox.remote.login import Login

HELLO = b"gpubox-send-3\n"
FRAME = b"J" + (1 << 20).to_bytes(8)


class Breaking:
    """Answers a connection with some bytes, and drops it when it has heard of a request, most of which it left."""

    def __init__(self, place: Path, says: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(place))
        self._listening.listen()
        self._says = says
        self._listening.settimeout(30)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.sendall(self._says)
            connection.recv(1)

    def close(self) -> None:
        self._thread.join(30)
        self._listening.close()


@pytest.fixture
def broken(tmp_path: Path, login: Login) -> Iterator[Callable[[bytes], Session]]:
    """Make a session whose other side has said so much and was then reset."""
    made: list[tuple[Breaking, Session]] = []

    def broken(says: bytes) -> Session:
        there = Breaking(tmp_path / "s", says)
        session = Session(login, "/root/box", line=Channel(tmp_path / "s"))
        made.append((there, session))
        session.ask({"do": "range", "file": "model.bin"})
        there.close()
        return session

    yield broken
    for there, session in made:
        session.close()
        there.close()


def test_a_reset_before_the_greeting(broken: Callable[[bytes], Session]) -> None:
    with pytest.raises(LinkLost, match="cut"):
        broken(HELLO[:5]).greet()


@pytest.mark.parametrize("said", [b"", FRAME[:4], FRAME, FRAME + b"half of it"])
def test_a_reset_in_a_frame(broken: Callable[[bytes], Session], said: bytes) -> None:
    with pytest.raises(LinkLost, match="cut"):
        broken(HELLO + said).object()


def test_a_reset_in_a_file(broken: Callable[[bytes], Session]) -> None:
    session = broken(HELLO + FRAME)
    assert session.frame() == (b"J", 1 << 20)
    with pytest.raises(LinkLost, match="cut"):
        session.into(memoryview(bytearray(100)))
