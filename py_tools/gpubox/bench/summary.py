"""The figures of a benchmark, computed anew from the record of every request, never from the client's own sums.

Times of one request as vLLM's client writes them (seconds): `start_times`, `ttfts` (to the first piece of the answer),
`itls` (between pieces), `latencies` (to the last piece). Time per output token (TPOT) is
`(latency - ttft) / (output tokens - 1)`; single gaps are not used for it, since one piece may carry several tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gpubox.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# same: the engine's counters moved by what the records say. more: somebody else used it too. fewer: the records claim
# what the engine never did. unknown: it has no counters.
Server = Literal["same", "more", "fewer", "unknown"]

# Pieces read from the socket together are parsed some 5 microseconds apart; no engine makes a token in 0.2 ms.
_SAME_READ_S = 0.0002


@dataclass(frozen=True, slots=True)
class Spread:
    """How one time spreads over the requests of a level, in milliseconds."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Level:
    """One level of concurrency. `seconds` is from the first request's start to the last one's end.

    `failed` counts requests with an error, without an answer, and with an answer that was cut short. Rates and spreads
    are those of the others; a spread is None when there is no request it could be computed from.
    `tokens_per_arrival` is the median of how many tokens came at once: 1 when every token was sent as soon as it was
    there; many when the engine's front end had no CPU (or guesses ahead), and then TTFT and TPOT say when it got some.
    `engine_ttft_ms` is the mean time to the first token by the engine's own clock.
    """

    concurrency: int
    requests: int
    failed: int
    seconds: float
    input_tokens: int
    output_tokens: int
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: Spread | None
    tpot_ms: Spread | None
    e2e_ms: Spread | None
    tokens_per_arrival: float | None
    engine_ttft_ms: float | None
    server: Server
    first_error: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def level(record: Mapping[str, Any], entry: Mapping[str, Any], *, output_len: int | None) -> Level:
    """The figures of one level from its record and its entry in the manifest.

    `output_len` is what every answer had to have, in tokens; None for an engine that ends answers when it likes. Raises
    `Failed` when the record is not whole.
    """
    requests = _requests(record, str(entry.get("file")))
    good = [request for request in requests if not request.error and request.output_tokens == _due(request, output_len)]
    bad = [request for request in requests if request not in good]
    errors = [request.error or f"{request.output_tokens} of {_due(request, output_len)} tokens came" for request in bad]
    begin = min((request.start for request in good), default=0.0)
    seconds = max((request.start + request.latency for request in good), default=0.0) - begin
    tokens = sum(request.output_tokens for request in good)
    return Level(
        concurrency=int(entry["concurrency"]),
        requests=len(requests),
        failed=len(requests) - len(good),
        seconds=seconds,
        input_tokens=sum(request.input_tokens for request in good),
        output_tokens=tokens,
        requests_per_s=len(good) / seconds if seconds > 0 else 0.0,
        output_tokens_per_s=tokens / seconds if seconds > 0 else 0.0,
        ttft_ms=spread([request.ttft * 1000 for request in good]),
        tpot_ms=spread([request.tpot * 1000 for request in good if request.tpot is not None]),
        e2e_ms=spread([request.latency * 1000 for request in good]),
        tokens_per_arrival=percentile([request.tokens_per_arrival for request in good], 50) if good else None,
        engine_ttft_ms=_engine_ttft(entry.get("server")),
        server=compare(entry.get("server"), good),
        first_error=errors[0].strip().splitlines()[-1][:300] if errors else None,
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and percentiles; None without values."""
    if not values:
        return None
    return Spread(sum(values) / len(values), *(percentile(values, share) for share in (50, 90, 99)))


def percentile(values: Sequence[float], share: float) -> float:
    """The `share`-th percentile (0 to 100), interpolated linearly between the two nearest values, as numpy does."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def refuse_failures(levels: Sequence[Level], *, where: str) -> None:
    """Raise `Failed` when a request failed or the records claim more than the engine did: such figures mean nothing."""
    for item in levels:
        if item.failed:
            count = f"{item.failed} of {item.requests} requests at concurrency {item.concurrency}"
            raise Failed(
                f"{count} failed: {item.first_error}",
                where=where,
                hint="`gpubox logs NAME vllm` (or the engine's name) says why; the records are kept",
            )
        if item.server == "fewer":
            raise Failed(
                f"at concurrency {item.concurrency} the engine counted less work than the client recorded",
                where=where,
                hint="was the engine restarted meanwhile? Measure again",
            )


@dataclass(frozen=True, slots=True)
class Request:
    """One request as recorded; times in seconds."""

    start: float
    ttft: float
    latency: float
    input_tokens: int
    output_tokens: int
    gaps: tuple[float, ...]
    error: str

    @property
    def tpot(self) -> float | None:
        """Seconds per output token after the first; None for an answer of one token."""
        return (self.latency - self.ttft) / (self.output_tokens - 1) if self.output_tokens > 1 else None

    @property
    def tokens_per_arrival(self) -> float:
        """How many tokens came at once, on average: pieces without a gap between them were read together."""
        return self.output_tokens / (1 + sum(gap > _SAME_READ_S for gap in self.gaps))


def compare(moved: Mapping[str, float] | None, good: Sequence[Request]) -> Server:
    """Hold the records against the engine's own counters."""
    if moved is None:
        return "unknown"
    recorded = {
        "requests": len(good),
        "prompt_tokens": sum(request.input_tokens for request in good),
        "output_tokens": sum(request.output_tokens for request in good),
    }
    if any(moved[name] < count for name, count in recorded.items()):
        return "fewer"
    return "more" if any(moved[name] > count for name, count in recorded.items()) else "same"


def _due(request: Request, output_len: int | None) -> int:
    return max(request.output_tokens, 1) if output_len is None else output_len


def _engine_ttft(moved: Mapping[str, float] | None) -> float | None:
    if moved is None or not moved.get("requests") or "ttft_seconds" not in moved:
        return None
    return moved["ttft_seconds"] / moved["requests"] * 1000


def _requests(record: Mapping[str, Any], where: str) -> list[Request]:
    columns = ("start_times", "ttfts", "latencies", "input_lens", "output_lens", "itls", "errors")
    try:
        rows = list(zip(*(record[name] for name in columns), strict=True))
        return [
            Request(float(start), float(ttft), float(latency), int(taken), int(given), tuple(gaps), str(error or ""))
            for start, ttft, latency, taken, given, gaps, error in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"the record of the benchmark is not whole: {error}", where=where, hint="measure again") from error
