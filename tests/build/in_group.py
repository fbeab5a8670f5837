"""`in_group.py GROUP DIRECTORY JOBS|rule`: builds in a cgroup that has a memory limit; prints one JSON line at the end.

With a number, as an article says it: so many compilers at once, and nobody looks. With `rule`: as the role does it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from flash_build import machine
from flash_build.attempt import Outcome, attempt
from flash_build.compile import compile_all
from flash_build.ninja import Count


class Silent:
    """Progress that nobody reads."""

    def tell(self, label: str, **numbers: float | str) -> None:
        """One line."""


def main() -> None:
    """One build."""
    for directory in sys.argv[1].split(":"):
        (Path(directory) / "cgroup.procs").write_text(str(os.getpid()))
    source, how = Path(sys.argv[2]), sys.argv[3]
    now = machine.read(Path("/"))
    tried: list[int] = []

    def run(jobs: int) -> Outcome:
        tried.append(jobs)
        return attempt(
            [sys.executable, "setup.py"], source=source, environment=dict(os.environ), jobs=jobs, count=Count(source),
            progress=Silent(), read=(lambda: now) if how != "rule" else (lambda: machine.read(Path("/"))),
        )  # fmt: skip

    begun = time.monotonic()
    outcome = run(int(how)) if how != "rule" else compile_all(run, machine.jobs(now), lambda: now)
    result = {**asdict(outcome), "said": outcome.said[-5:], "tried": tried, "seconds": time.monotonic() - begun}
    sys.stdout.write("\n" + json.dumps({**result, "limit": now.limit, "free": now.free}) + "\n")


if __name__ == "__main__":
    main()
