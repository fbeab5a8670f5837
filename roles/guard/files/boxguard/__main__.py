"""`python -m boxguard DIRECTORY`: the guard as a service. DIRECTORY is `<root>/guard`, with `settings.json` in it."""

from __future__ import annotations

import sys
from pathlib import Path

from boxguard.loop import Guard

if __name__ == "__main__":
    Guard(Path(sys.argv[1])).run()
