"""The figures of a benchmark as rows for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubox.bench.result import BenchResult
    from gpubox.bench.summary import Level, Spread

_HEAD = (
    "CONCURRENCY",
    "REQUESTS",
    "FAILED",
    "OUTPUT tok/s",
    "REQUESTS/s",
    "TTFT p50/p90/p99 ms",
    "TPOT p50/p90/p99 ms",
    "WHOLE p50/p90/p99 ms",
    "ENGINE'S TTFT ms",
)
# From here on the times of single tokens say more about a starved front end than about the engine.
_LUMPS = 2.0


def level_rows(result: BenchResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading and one row per level.

    TTFT: until the first token reaches the client; TPOT: per token after it; WHOLE: the answer; ENGINE'S TTFT: the
    mean by the engine's own clock.
    """
    return _HEAD, [_row(level) for level in result.levels]


def remarks(result: BenchResult) -> list[str]:
    """What a reader has to know before believing the figures."""
    found = []
    for level in result.levels:
        if level.failed:
            place = f"at concurrency {level.concurrency}"
            found.append(f"{place} {level.failed} of {level.requests} requests failed: {level.first_error}")
    lumpy = {
        str(level.concurrency): f"{level.tokens_per_arrival:.0f}"
        for level in result.levels
        if level.tokens_per_arrival is not None and level.tokens_per_arrival >= _LUMPS
    }
    if lumpy:
        found.append(
            f"at concurrency {', '.join(lumpy)} tokens arrived {', '.join(lumpy.values())} at a time: TTFT and TPOT "
            "tell when they were sent, not when they were made (the front end lacked CPU, or the engine guesses ahead)"
        )
    shared = [str(level.concurrency) for level in result.levels if level.server == "more"]
    if shared:
        found.append(f"at concurrency {', '.join(shared)} somebody else used the engine too")
    return found


def markdown(result: BenchResult) -> str:
    """The same as a Markdown table, with what was measured above it."""
    head, rows = level_rows(result)
    lines = [
        f"# {result.run}",
        "",
        f"Model `{result.model}`, prompts of {result.input_len} tokens, answers of {result.output_len} tokens.",
        "",
        *(f"| {' | '.join(row)} |" for row in (head, ("--:",) * len(head), *rows)),
        "",
        *(f"- {remark}" for remark in remarks(result)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(level: Level) -> tuple[str, ...]:
    return (
        str(level.concurrency),
        str(level.requests),
        str(level.failed),
        f"{level.output_tokens_per_s:.1f}",
        f"{level.requests_per_s:.2f}",
        _spread(level.ttft_ms),
        _spread(level.tpot_ms),
        _spread(level.e2e_ms),
        "-" if level.engine_ttft_ms is None else _milliseconds(level.engine_ttft_ms),
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return " / ".join(_milliseconds(value) for value in (spread.p50, spread.p90, spread.p99))


def _milliseconds(value: float) -> str:
    """Three significant figures below 100 ms, whole milliseconds above."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"
