"""The picture of a benchmark: throughput and latency over concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from gpubox.bench.result import BenchResult
    from gpubox.bench.summary import Level, Spread

_BLUE, _ORANGE, _GREY = "#1f77b4", "#d95f02", "#555555"


def draw(result: BenchResult, path: Path) -> None:
    """Write a PNG: output tokens per second, time to the first token, time per further token, each over concurrency."""
    from matplotlib.figure import Figure  # costs a second: only for those who want a picture

    levels = sorted(result.levels, key=lambda level: level.concurrency)
    figure = Figure(figsize=(12, 4), dpi=150, layout="constrained")
    throughput, first, further = figure.subplots(1, 3)
    figure.suptitle(
        f"{result.model}: {result.input_len} tokens in, {result.output_len} out ({result.run})", fontsize=11
    )
    places = [level.concurrency for level in levels]
    throughput.plot(places, [level.output_tokens_per_s for level in levels], marker="o", color=_BLUE)
    _label(throughput, "Throughput", "output tokens per second", places)
    _spreads(first, levels, lambda level: level.ttft_ms)
    own = [(level.concurrency, level.engine_ttft_ms) for level in levels if level.engine_ttft_ms is not None]
    if own:
        first.plot([x for x, _ in own], [y for _, y in own], "s--", color=_GREY, label="mean by the engine's own clock")
    _label(first, "Time to the first token", "milliseconds", places)
    _spreads(further, levels, lambda level: level.tpot_ms)
    _label(further, "Time per further token", "milliseconds", places)
    figure.savefig(path)


def _spreads(axes: Axes, levels: Sequence[Level], of: Callable[[Level], Spread | None]) -> None:
    """Median as a line, up to the 99th percentile as a band."""
    known = [(level.concurrency, spread) for level in levels if (spread := of(level)) is not None]
    places = [place for place, _ in known]
    axes.plot(places, [spread.p50 for _, spread in known], marker="o", color=_ORANGE, label="median")
    axes.fill_between(
        places,
        [spread.p50 for _, spread in known],
        [spread.p99 for _, spread in known],
        color=_ORANGE,
        alpha=0.2,
        label="up to the 99th percentile",
    )


def _label(axes: Axes, title: str, unit: str, places: Sequence[int]) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("concurrent requests")
    axes.set_ylabel(unit)
    axes.set_xticks(places, [str(place) for place in places])
    # Room for the legend above the data.
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * (1.35 if axes.get_legend_handles_labels()[0] else 1.05))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", fontsize=8)
    axes.grid(alpha=0.3)
