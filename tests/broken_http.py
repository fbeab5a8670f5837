"""HTTP servers that go away in the middle of an answer, or are none."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Python's client tells of all three in ways of its own, none of which is an `OSError`.
ANSWERS = {
    "half": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{",
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
}


@contextlib.contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """The address of a server that answers every request with `raw` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer, args=(listening, raw), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def _answer(listening: socket.socket, raw: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(ConnectionError), connection.makefile("rb") as said:
                length = 0
                while (line := said.readline()) not in {b"\r\n", b""}:
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                said.read(length)
                connection.sendall(raw)
