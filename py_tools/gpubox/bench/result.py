"""A finished benchmark, as read from its directory of records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox.bench import summary
from gpubox.errors import Failed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was measured, and the directory that holds `manifest.json`, `c<level>.json`, and what was made of them."""

    run: str
    results: Path
    model: str
    input_len: int
    output_len: int
    levels: tuple[summary.Level, ...]

    def as_dict(self) -> dict[str, Any]:
        """`{"run","results","model","input_len","output_len","levels":[...]}`."""
        return {
            "run": self.run,
            "results": str(self.results),
            "model": self.model,
            "input_len": self.input_len,
            "output_len": self.output_len,
            "levels": [level.as_dict() for level in self.levels],
        }


def read(directory: Path) -> BenchResult:
    """Compute a benchmark's figures from its records. Raises `Failed` when a record is missing or not whole."""
    manifest = _json(directory / "manifest.json")
    output_len = int(manifest["output_len"])
    exact = output_len if manifest.get("exact", True) else None
    levels = [summary.level(_json(directory / str(e["file"])), e, output_len=exact) for e in manifest["levels"]]
    return BenchResult(
        run=str(manifest["run"]),
        results=directory,
        model=str(manifest["engine"]["model"]),
        input_len=int(manifest["input_len"]),
        output_len=output_len,
        levels=tuple(levels),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failed(
            f"a record of the benchmark cannot be read: {error}", where=str(path), hint="measure again"
        ) from error
    return found
