"""Requests and answers over stdin and stdout of one SSH connection: the form of `boxctl send` and `boxctl receive`.

A line of JSON on stdin is a request, with the bytes of files behind it where its verb says so. stdout begins with one
line that names the verb and the version of this form. Then come frames: one byte of kind, eight of length (big endian),
the content. `J` is JSON, `P` a pack of small whole files, `D` bytes of a file. Requests are answered in order, each
answer ends with a `J` frame that has `done`. On a further channel of
`boxctl send` the first answer comes unasked.
"""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

from boxctl.errors import BoxctlError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Verb = Callable[[dict[str, Any]], dict[str, Any] | None]

_VERSION = 3
_HEAD = struct.Struct(">cQ")
# Bytes that are held back, so that small frames do not cost a system call each.
_FLUSH = 1 << 20


class Frames:
    """Where answers go: the file descriptor `sink`. What is written leaves with `flush`, or when it has become much."""

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._waiting: list[bytes] = []
        self._held = 0

    def json(self, data: Mapping[str, Any]) -> None:
        """One frame of JSON, in ASCII: a name that is no text travels as the surrogates that Python made of it."""
        self.frame(b"J", json.dumps(data).encode())

    def frame(self, kind: bytes, *pieces: bytes) -> None:
        """One frame of these pieces."""
        self.write(_HEAD.pack(kind, sum(len(piece) for piece in pieces)), *pieces)

    def begin(self, kind: bytes, length: int) -> None:
        """The head of a frame whose content follows by `write` or `direct`."""
        self.write(_HEAD.pack(kind, length))

    def write(self, *pieces: bytes) -> None:
        """Bytes of a frame that was begun."""
        self._waiting += pieces
        self._held += sum(len(piece) for piece in pieces)
        if self._held >= _FLUSH:
            self.flush()

    def direct(self, view: memoryview) -> None:
        """The same at once, with nothing held back: after `flush` only."""
        while view:
            view = view[os.write(self._sink, view) :]

    def flush(self) -> None:
        """Send what was held back."""
        view = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._held = 0
        self.direct(view)


def serve(name: str, verbs: Mapping[str, Verb], out: Frames, requests: Iterable[bytes], *, root: str) -> None:
    """Answer requests until there are no more. `name` is the command's, `root` stands in errors of the disk."""
    out.write(f"gpubox-{name}-{_VERSION}\n".encode())
    out.flush()
    for line in requests:
        request = json.loads(line)
        try:
            answer = verbs[request["do"]](request) or {}
        except BoxctlError as error:
            answer = error.as_dict()
        except OSError as error:
            answer = from_os_error(error, root).as_dict()
        out.json({**answer, "done": True})
        out.flush()
