"""`python -m boxctl`."""

from __future__ import annotations

import sys

from boxctl.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
