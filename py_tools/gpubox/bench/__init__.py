"""Benchmarks: vLLM's own client measures on the box; figures, table and picture are made here from its raw records."""

from __future__ import annotations

from gpubox.bench.result import BenchResult
from gpubox.bench.story import run_bench

__all__ = ["BenchResult", "run_bench"]
