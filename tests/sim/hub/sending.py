"""Sends a file's bytes, with what goes wrong between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.hub.pace import Cap

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sim.hub.counters import Counters
    from sim.hub.faults import HubFaults
    from sim.hub.web import Part

_CHUNK = 64 << 10
_FOREVER = 1e9


def send(
    connection: socket.socket,
    part: Part,
    faults: HubFaults,
    cap: Cap,
    counters: Counters,
    gone: Callable[[float], bool],
) -> bool:
    """Whether all of it went out, and the connection goes on. `gone` waits and says whether somebody hung up."""
    source = part.on.partition("/")[0]
    counters.begin(source, part.repo, part.path)
    try:
        stop = _stop(part, faults)
        return _stream(connection, part, stop, faults, cap, counters, gone) and stop == part.stop
    finally:
        counters.end(source, part.repo, part.path)


def _stop(part: Part, faults: HubFaults) -> int:
    """The first byte of the file that is not sent."""
    cut = faults.peek("cut", part.on, part.path)
    if cut is None or part.start + cut.size >= part.stop:
        return part.stop
    faults.take("cut", part.on, part.path)
    return part.start + cut.size


def _stream(
    connection: socket.socket,
    part: Part,
    stop: int,
    faults: HubFaults,
    cap: Cap,
    counters: Counters,
    gone: Callable[[float], bool],
) -> bool:
    source, at = part.on.partition("/")[0], part.start
    own = Cap(lambda: slow.rate if (slow := faults.peek("slow", part.on, part.path)) else 0.0)
    for piece in part.blob.pieces(part.start, stop):
        for begin in range(0, len(piece), _CHUNK):
            chunk = piece[begin : begin + _CHUNK]
            wait = max(own.wait(len(chunk)), cap.wait(len(chunk)))
            if wait > 0 and gone(wait):
                return False
            # Taken when it comes to it: a client may ask for all and hang up long before.
            last = _stall(part, at, len(chunk), faults)
            sent = _rotten(chunk if last is None else chunk[:last], at, part, faults)
            connection.sendall(sent)
            counters.add(source, part.repo, part.path, len(sent))
            if last is not None:
                gone(_FOREVER)
                return False
            at += len(chunk)
    return True


def _stall(part: Part, at: int, length: int, faults: HubFaults) -> int | None:
    """How many bytes of this chunk still go out before it stops for ever; None: it does not."""
    stall = faults.peek("stall", part.on, part.path)
    if stall is None or at + length <= (point := int(part.blob.size * stall.share)):
        return None
    return max(0, point - at) if faults.take("stall", part.on, part.path) else None


def _rotten(chunk: bytes | memoryview, at: int, part: Part, faults: HubFaults) -> bytes | memoryview:
    wrong = faults.peek("wrong", part.on, part.path)
    if wrong is None:
        return chunk
    first, last = max(wrong.start - at, 0), min(wrong.start + wrong.size - at, len(chunk))
    if first >= last or faults.take("wrong", part.on, part.path) is None:
        return chunk
    return bytes(chunk[:first]) + bytes(byte ^ 0xFF for byte in chunk[first:last]) + bytes(chunk[last:])
