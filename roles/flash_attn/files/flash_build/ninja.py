"""How far a build is: from the lines of `ninja -v` and from the file that torch writes for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"^\[(\d+)/(\d+)\] (.*)")
_UNIT = re.compile(r"-c\s+(?:-o\s+)?(?:\S*/)?([\w.+-]+\.(?:cu|cpp|cc|c))\b")


class Count:
    """Units that are done, over all tries: ninja counts anew each time it is started, and only what is left."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._now = self._left = 0
        self.last = ""

    def hear(self, line: str) -> bool:
        """Whether the line says that one more is done."""
        found = _LINE.match(line)
        if not found:
            return False
        self._now, self._left = int(found[1]), int(found[2])
        unit = _UNIT.search(found[3])
        self.last = unit[1] if unit else found[3].split()[-1]
        return True

    @property
    def total(self) -> int:
        """Of the whole build; 0 while it is not known."""
        return max(listed(self._source), self._left)

    @property
    def done(self) -> int:
        """Finished ones, those of earlier tries too."""
        return self.total - self._left + self._now if self._left else 0

    def minutes_left(self, seconds: float) -> float | None:
        """When `seconds` have passed since ninja's start; None before the first unit is done."""
        return (self._left - self._now) * seconds / self._now / 60 if self._now else None

    def start(self) -> None:
        """ninja is started (again)."""
        self._now = 0


def listed(source: Path) -> int:
    """How many files ninja has to compile, by the file that torch wrote for it; 0 when it has not yet."""
    count = 0
    for path in source.glob("build/**/build.ninja"):
        text = path.read_text(encoding="utf-8", errors="replace")
        count += len(re.findall(r"^build \S+: (?:cuda_|sycl_)?compile\b", text, re.MULTILINE))
    return count
