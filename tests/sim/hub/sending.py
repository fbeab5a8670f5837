"""Sends a file's bytes, with what goes wrong between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.hub.pace import Cap

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sim.hub.counters import Counters
    from sim.hub.faults import HubFault, HubFaults
    from sim.hub.web import Part

_CHUNK = 64 << 10
_FOREVER = 1e9


@dataclass(frozen=True, slots=True)
class _Plan:
    """What happens to one body; `stop`: the first byte of the file that is not sent, and whether the line stays."""

    stop: int
    stalls: bool
    wrong: HubFault | None


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
        plan = _plan(part, faults)
        if not _stream(connection, part, plan, faults, cap, counters, gone):
            return False
        if plan.stalls:
            gone(_FOREVER)
        return plan.stop == part.stop and not plan.stalls
    finally:
        counters.end(source, part.repo, part.path)


def _plan(part: Part, faults: HubFaults) -> _Plan:
    stop, stalls, wrong = part.stop, False, None
    if (cut := faults.peek("cut", part.on, part.path)) and part.start + cut.size < part.stop:
        faults.take("cut", part.on, part.path)
        stop = part.start + cut.size
    if stall := faults.peek("stall", part.on, part.path):
        at = max(part.start, int(part.blob.size * stall.share))
        if at < stop:
            faults.take("stall", part.on, part.path)
            stop, stalls = at, True
    rot = faults.peek("wrong", part.on, part.path)
    if rot and rot.start < part.stop and rot.start + rot.size > part.start:
        wrong = faults.take("wrong", part.on, part.path)
    return _Plan(stop, stalls, wrong)


def _stream(
    connection: socket.socket,
    part: Part,
    plan: _Plan,
    faults: HubFaults,
    cap: Cap,
    counters: Counters,
    gone: Callable[[float], bool],
) -> bool:
    source, at = part.on.partition("/")[0], part.start
    own = Cap(lambda: slow.rate if (slow := faults.peek("slow", part.on, part.path)) else 0.0)
    for piece in part.blob.pieces(part.start, plan.stop):
        for begin in range(0, len(piece), _CHUNK):
            chunk = _rotten(piece[begin : begin + _CHUNK], at, plan.wrong)
            wait = max(own.wait(len(chunk)), cap.wait(len(chunk)))
            if wait > 0 and gone(wait):
                return False
            connection.sendall(chunk)
            counters.add(source, part.repo, part.path, len(chunk))
            at += len(chunk)
    return True


def _rotten(chunk: bytes | memoryview, at: int, wrong: HubFault | None) -> bytes | memoryview:
    if wrong is None:
        return chunk
    first, last = max(wrong.start - at, 0), min(wrong.start + wrong.size - at, len(chunk))
    if first >= last:
        return chunk
    return bytes(chunk[:first]) + bytes(byte ^ 0xFF for byte in chunk[first:last]) + bytes(chunk[last:])
