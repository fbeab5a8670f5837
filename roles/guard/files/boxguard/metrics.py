"""Requests: what engines say under /metrics, and for programs that say nothing there, their open connections."""

from __future__ import annotations

import http.client
import math
import re
from pathlib import Path
from typing import NamedTuple

from boxctl import health

_TIMEOUT = 5.0
_SIZE = 4 << 20
# Requests that are there now. vLLM: num_requests_running, num_requests_waiting; SGLang: num_running_reqs,
# num_queue_reqs; llama.cpp: requests_processing, requests_deferred; TGI: queue_size, batch_current_size.
_GAUGE = re.compile(
    r"(?:.*[:_])?(?:requests?_(?:running|waiting|swapped|processing|deferred|in_flight|in_progress|active)"
    r"|num_(?:running|queue|waiting)_reqs|queue_size|batch_current_size)"
)
# What each request makes grow; so requests between two looks are noticed.
_COUNTER = re.compile(
    r"(?:.*[:_])?(?:request_success|num_requests|requests|request_count|prompt_tokens|generation_tokens"
    r"|tokens_predicted)(?:_total)?"
)
# The web server's own counters grow with every look of ours.
_OURS = re.compile(r"(?:.*[:_])?http_|process_|python_")
_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{.*\})?\s+(\S+)(?:\s+\S+)?")


class Engine(NamedTuple):
    """What one engine says: requests being answered now, and the sum of its counters."""

    requests: int
    counter: float


class SilentError(Exception):
    """A program that runs does not say how busy it is."""


def ask(url: str) -> Engine | None:
    """GET /metrics; None when it answers but does not count requests there. Raises `SilentError`."""
    try:
        status, body = health.get(url, timeout=_TIMEOUT, size=_SIZE)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SilentError(str(error) or type(error).__name__) from error
    if status >= 500:
        raise SilentError(f"HTTP status {status}")
    return parse(body.decode("utf-8", "replace")) if status == 200 else None


def parse(text: str) -> Engine | None:
    """Prometheus' text format; None when none of its names is a number of requests that are there now."""
    gauges, counters, found = 0.0, 0.0, False
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None or _OURS.match(match[1]):
            continue
        try:
            value = float(match[2])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        if _GAUGE.fullmatch(match[1]):
            gauges, found = gauges + value, True
        elif _COUNTER.fullmatch(match[1]):
            counters += value
    # Half a request is one, too.
    return Engine(-int(-gauges // 1), counters) if found else None


def connections(port: int, tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> int:
    """How many connections to a port of this box are open. Raises `SilentError` where that cannot be read."""
    rows = []
    for table in tables:
        try:
            rows += Path(table).read_text(encoding="ascii", errors="replace").splitlines()[1:]
        except OSError:
            continue
    if not rows:
        raise SilentError("the kernel's table of connections cannot be read")
    fields = (row.split() for row in rows)
    # Local address as in 0100007F:1F40; state 01 is an open connection.
    return sum(len(row) > 3 and row[3] == "01" and int(row[1].rpartition(":")[2], 16) == port for row in fields)
