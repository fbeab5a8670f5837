"""One connection: a piece of a file from a hub to its place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from model_fetch.curl import Reply, Request, Transfer
from model_fetch.errors import Asked, Changed, Cut, Denied, NoRanges
from model_fetch.partial import Writer
from model_fetch.watchdog import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_fetch.board import Piece

# A server that asks for patience gets it, but not for ever.
_LONGEST_WAIT = 60.0


class Busy(Cut):
    """The server asks to come again after `wait` seconds."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class Stopped(Cut):
    """Nobody wants the bytes any more."""


def pull(
    piece: Piece,
    repository: str,
    *,
    stall: float,
    came: Callable[[Transfer | None, int], None],
    going: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Fetch `piece` up to its end. What came is in the piece, whatever happens: `at`, `new`, `differed`.

    `came` is told of the running transfer and of received bytes; `going`: whether to go on. Raises `Trouble`, and
    `OSError` of the disk.
    """
    file, route, partial = piece.item.file, piece.route, piece.item.partial
    assert partial is not None
    ranged = route.ranges and (piece.start, piece.end) != (0, file.size)
    url = route.hub.url(repository, route.revision, file.path)
    start, end = (piece.start, piece.end) if ranged else (None, None)
    writer = Writer(partial, piece.start, compare=piece.compare)
    try:
        with Transfer(Request(url, route.hub.headers(), start, end, route.environment)) as transfer:
            came(transfer, 0)
            piece.last, piece.stop = now(), transfer.stop
            check(transfer.reply(stall), piece, ranged=ranged)
            _stream(transfer, piece, writer, Watch(stall, now()), came, going, now)
    except Cut:
        # Somebody else has taken over what it had still to do.
        if piece.at < piece.end:
            raise
    finally:
        piece.stop = None
        came(None, 0)
        writer.flush()
        piece.new, piece.differed = writer.new, writer.differed


def _stream(
    transfer: Transfer,
    piece: Piece,
    writer: Writer,
    watch: Watch,
    came: Callable[[Transfer | None, int], None],
    going: Callable[[], bool],
    now: Callable[[], float],
) -> None:
    while writer.at < piece.end:
        data = transfer.read(watch.left(now()))
        if not data:
            raise Cut("the connection ended before its end")
        came(transfer, len(data))
        piece.last = now()
        watch.feed(piece.last, len(data))
        writer.write(data[: max(0, piece.end - writer.at)])
        piece.at = writer.at
        if not going():
            raise Stopped("stopped")


def check(reply: Reply, piece: Piece, *, ranged: bool) -> None:
    """Whether the answer brings what was asked for. Raises `Trouble`. Pure."""
    file, where = piece.item.file, f"{piece.route}"
    if reply.status in (404, 410):
        raise Asked(f"{where} has no `{file.path}` any more")
    if reply.status in (401, 403):
        raise Denied(
            f"{where} does not hand out `{file.path}` (HTTP {reply.status})", "set MODELSCOPE_API_TOKEN or HF_TOKEN"
        )
    if reply.status == 416:
        raise Changed(f"{where} has a shorter `{file.path}` than it lists")
    if reply.status not in (200, 206):
        raise Busy(f"HTTP {reply.status}", _wait(reply))
    # Both hubs say an LFS file's SHA-256 before they redirect. What a CDN calls ETag may be anything.
    if len(reply.linked) == 64 and file.sha256 and reply.linked.lower() != file.sha256:
        raise Changed(f"{where} has another `{file.path}` than it lists (SHA-256)")
    found = reply.range
    if found is None:
        if reply.length is not None and reply.length != file.size:
            raise Changed(f"{where} has {reply.length} bytes of `{file.path}` and lists {file.size}")
        if ranged:
            raise NoRanges(f"{where} sends whole files only")
        return
    first, last, total = found
    if total is not None and total != file.size:
        raise Changed(f"{where} has {total} bytes of `{file.path}` and lists {file.size}")
    if first != piece.start or last < piece.end:
        raise Cut(f"other bytes were sent ({first} to {last}) than asked for ({piece.start} to {piece.end})")


def _wait(reply: Reply) -> float:
    words = reply.headers.get("retry-after", "")
    return min(_LONGEST_WAIT, float(words)) if words.isdigit() else 0.0
