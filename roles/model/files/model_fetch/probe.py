"""Which of several ways to a hub is the fastest, by a short piece over each of them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from model_fetch.curl import Request, Transfer
from model_fetch.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_fetch.listing import RemoteFile
    from model_fetch.routes import Route

# Enough to get past a slow start; at most so long.
_BYTES = 2 * 2**20
_SECONDS = 6.0
# A difference that is noise does not outweigh the order in which the ways are given.
_CLEARLY = 1.3


def fastest(ways: Sequence[Route], repository: str, revision: str, file: RemoteFile) -> tuple[list[Route], list[str]]:
    """The ways with the best one first, those that do not work last; and what was measured, in words."""
    if len(ways) < 2 or file.size < _BYTES:
        return list(ways), []
    with ThreadPoolExecutor(len(ways)) as pool:
        speeds = list(pool.map(lambda way: _speed(way, repository, revision, file), ways))
    words = [
        f"{way}: {speed / 1e6:.1f} MB/s" if speed else f"{way}: no answer"
        for way, speed in zip(ways, speeds, strict=True)
    ]
    return order(ways, speeds), words


def order(ways: Sequence[Route], speeds: Sequence[float]) -> list[Route]:
    """Best first; of nearly equal ones the one that stands first. Pure; `speeds` in bytes per second, 0: none."""
    best = 0
    for index, speed in enumerate(speeds):
        if speed > speeds[best] * _CLEARLY:
            best = index
    rest = sorted((index for index in range(len(ways)) if index != best), key=lambda index: -speeds[index])
    return [ways[index] for index in (best, *rest)]


def _speed(way: Route, repository: str, revision: str, file: RemoteFile) -> float:
    """Bytes per second; 0 when it does not work."""
    url = way.hub.url(repository, way.revision or revision, file.path)
    began, came = time.monotonic(), 0
    try:
        with Transfer(Request(url, way.hub.headers(), 0, _BYTES, way.environment)) as transfer:
            if transfer.reply(_SECONDS).status not in (200, 206):
                return 0.0
            while came < _BYTES and (left := began + _SECONDS - time.monotonic()) > 0:
                data = transfer.read(left)
                came += len(data)
                if not data:
                    break
    except Trouble:
        # It stopped in the middle: what came until then says how fast it is, slower for every second of silence.
        pass
    return came / max(1e-3, time.monotonic() - began)
