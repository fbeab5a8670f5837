"""`unit.py -c IN -o OUT`: a compiler that ends when `crowd` have been started, and no more than `fits` are there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PLACE = Path(__file__).parent
ALIVE = PLACE / "alive"


def alive() -> int:
    """How many run: the killed ones have left their file."""
    return sum(runs(path.name) for path in ALIVE.iterdir())


def runs(pid: str) -> bool:
    """Not gone, and not a zombie whose memory is free already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started() -> int:
    """How many were started so far, in all tries."""
    return len((PLACE / "calls").read_text().splitlines())


def main() -> int:
    source, out = sys.argv[2], Path(sys.argv[4])
    with (PLACE / "calls").open("a") as calls:
        calls.write(f"{source}\n")
    mine = ALIVE / str(os.getpid())
    mine.touch()
    fits = int((PLACE / "fits").read_text())
    if fits < 0:
        # What the kernel does when memory is out.
        (PLACE / "kills").write_text("1")
        os.kill(os.getpid(), 9)
    crowd = int((PLACE / "crowd").read_text())
    deadline = time.monotonic() + 60
    while (started() < crowd or alive() > fits) and time.monotonic() < deadline:
        time.sleep(0.02)
    if (PLACE / "broken").exists():
        sys.stderr.write((PLACE / "broken").read_text())
        return 1
    out.write_text(source)
    mine.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
