"""Runs all measurements and prints the report; with `--write` it becomes docs/performance.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    backup_throughput,
    help_cpu,
    model_download,
    nothing_to_do,
    stand_up,
    take_down,
    tunnel,
    web_ui_start,
    wheelhouse,
    whole_converge,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def main() -> None:
    """Print, and write when asked."""
    head = (
        "# Performance\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; boxes and clients share the cores. Compare only "
        "figures of one table: each was measured side by side in one run.\n"
    )
    parts = [head]
    measurements = (
        help_cpu.main,
        nothing_to_do.main,
        whole_converge.main,
        stand_up.main,
        take_down.main,
        backup_throughput.main,
        model_download.main,
        wheelhouse.main,
        web_ui_start.main,
        tunnel.main,
    )
    for measurement in measurements:
        parts.append(measurement())
        print(parts[-1], flush=True)
    if "--write" in sys.argv[1:]:
        PAGE.write_text("\n".join(parts))
        print(f"wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
