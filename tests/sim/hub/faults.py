"""What goes wrong at a simulated hub; planned before or while it runs, from any thread."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

# cut: the connection ends after `size` bytes of an answer.      stall: not a byte more from `share` of the file on.
# wrong: the bytes from `start` to `start + size` are others.      slow: at most `rate` bytes a second and connection.
# http: `status`, with `retry_after` seconds if any.             loop: 302 to itself, for ever.
# no_length: a body without Content-Length or Content-Range.     ignores_range: all of the file, whatever was asked for.
# lies: lists `size` bytes more than the file has.               no_sha256: lists no SHA-256.
# code: ModelScope's own error `status` with `message`, as a 404.
Kind = Literal[
    "cut", "stall", "wrong", "slow", "http", "loop", "no_length", "ignores_range", "lies", "no_sha256", "code"
]


@dataclass(frozen=True, slots=True)
class HubFault:
    """`on`: glob over `<hub>/<stage>`, as in `modelscope/list`, `*/cdn`, `huggingface/*`; stages are list, file
    and cdn. `path`: glob of the file in its repository, or of the repository's name for `list`. `times`: answers.
    """

    kind: Kind
    on: str = "*"
    path: str = "*"
    times: int = 1 << 30
    size: int = 0
    start: int = 0
    share: float = 0.0
    rate: float = 0.0
    status: int = 500
    retry_after: float | None = None
    message: str = ""


class HubFaults:
    """`total_rate`: bytes a second of all connections together, 0 for no cap."""

    def __init__(self, faults: Iterable[HubFault] = (), *, total_rate: float = 0.0) -> None:
        self.total_rate = total_rate
        self._lock = threading.Lock()
        self._left: list[tuple[HubFault, list[int]]] = []
        self.restart(faults)

    def add(self, kind: Kind, on: str = "*", path: str = "*", **values: Any) -> HubFaults:  # noqa: ANN401
        """One more."""
        fault = HubFault(kind, on, path, **values)
        with self._lock:
            self._left.append((fault, [fault.times]))
        return self

    def cut(self, every: int, *, on: str = "*", path: str = "*", times: int = 1 << 30) -> HubFaults:
        """Ends each connection after so many bytes of a file."""
        return self.add("cut", on, path, size=every, times=times)

    def stall(self, share: float, *, on: str = "*", path: str = "*", times: int = 1 << 30) -> HubFaults:
        """Sends nothing from that share (0.99) of the file on, and keeps the connection open."""
        return self.add("stall", on, path, share=share, times=times)

    def wrong(self, start: int, size: int = 1, *, on: str = "*", path: str = "*", times: int = 1 << 30) -> HubFaults:
        """Sends other bytes for these; `times` counts pieces of 64 KiB that have some of them."""
        return self.add("wrong", on, path, start=start, size=size, times=times)

    def slow(self, rate: float, *, on: str = "*", path: str = "*") -> HubFaults:
        """Bytes a second of one connection."""
        return self.add("slow", on, path, rate=rate)

    def http(
        self, status: int, *, on: str = "*", path: str = "*", times: int = 1 << 30, retry_after: float | None = None
    ) -> HubFaults:
        """That status, and a page."""
        return self.add("http", on, path, status=status, times=times, retry_after=retry_after)

    def restart(self, faults: Iterable[HubFault] = ()) -> HubFaults:
        """Forget all, and plan these; the cap of all connections stays."""
        with self._lock:
            self._left = [(fault, [fault.times]) for fault in faults]
        return self

    def peek(self, kind: Kind, on: str, path: str) -> HubFault | None:
        """The newest of that kind that hits, its times not counted."""
        with self._lock:
            return next((fault for fault, _ in self._hits(kind, on, path)), None)

    def take(self, kind: Kind, on: str, path: str) -> HubFault | None:
        """The same, and one of its times is used up."""
        with self._lock:
            for fault, left in self._hits(kind, on, path):
                left[0] -= 1
                return fault
        return None

    def _hits(self, kind: Kind, on: str, path: str) -> list[tuple[HubFault, list[int]]]:
        return [
            (fault, left)
            for fault, left in reversed(self._left)
            if fault.kind == kind and left[0] > 0 and fnmatchcase(on, fault.on) and fnmatchcase(path, fault.path)
        ]


def as_json(fault: HubFault) -> dict[str, Any]:
    """For a hub in another process: `HubFault(**values)` is its inverse."""
    return asdict(fault)
