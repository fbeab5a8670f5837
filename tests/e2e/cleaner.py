"""`python cleaner.py`: waits until its stdin is closed, then ends what a test's HOME has running in the background.

A program of its own: it does that also when the tests were killed.
"""

from __future__ import annotations

import json
import subprocess
import sys

GPUBOX = [sys.executable, "-m", "gpubox"]
PATIENCE = 300.0


def main() -> None:
    """Close every tunnel, and take down every box that lives on this machine."""
    sys.stdin.read()
    subprocess.run([*GPUBOX, "tunnel", "--stop"], check=False, capture_output=True, timeout=PATIENCE)
    listed = subprocess.run([*GPUBOX, "ls", "--json"], check=False, capture_output=True, text=True, timeout=PATIENCE)
    for box in json.loads(listed.stdout or "[]"):
        if box["provider"] == "local":
            argv = [*GPUBOX, "down", box["name"], "--yes", "--discard", "--results", "abandoned"]
            subprocess.run(argv, check=False, capture_output=True, timeout=PATIENCE)


if __name__ == "__main__":
    main()
