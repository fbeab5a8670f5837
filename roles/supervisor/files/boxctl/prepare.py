"""`python -m boxctl.prepare ROOT`: what the keeper does before each start of supervisord."""

from __future__ import annotations

import sys
from pathlib import Path

from boxctl import lifecycle
from boxctl.errors import BoxctlError
from boxctl.layout import Layout

if __name__ == "__main__":
    try:
        lifecycle.prepare(Layout(Path(sys.argv[1])))
    except BoxctlError as error:
        sys.exit(f"{error.message}; {error.hint}")
