"""Everything that ran for a while, by its command line: what a secret must not be found in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

# Most of what an `up` starts runs longer; a look takes 6 ms.
_EVERY = 0.05


class Argvs:
    """A context: command lines of all processes of this machine, those in test boxes among them."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def text(self) -> str:
        """A line for each command line that was seen."""
        return b"\n".join(argv.replace(b"\0", b" ") for argv in self._seen).decode(errors="replace")

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self._seen.add(process.read_bytes())
                except OSError:
                    # It has ended.
                    continue
