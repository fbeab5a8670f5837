"""Run a command of the build: keep what it says, pass it on, and turn it into progress."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .progress import Progress

# make: "[ 42%] Building CXX object ..."; ninja: "[3/17] /usr/local/cuda/bin/nvcc ..."
_PERCENT = re.compile(r"^\[\s*(\d+)%\]")
_UNITS = re.compile(r"^\[(\d+)/(\d+)\]")
_EXTENSION = re.compile(r"building '([A-Za-z_]\w*)' extension|-- Build files have been written to: \S*/(\w+)/build$")
# What of a failed build says why; its last line is only setuptools giving up.
_CAUSES = re.compile(
    r"fatal error: |error: #error|undefined reference|No space left on device|Killed signal terminated program|"
    r"CUDA20|No such file or directory|CMake Error|RuntimeError:|: error:"
)
_KILLED = re.compile(r"Killed signal terminated program|cannot allocate memory|nvcc error.*signal 9", re.IGNORECASE)
_KEPT_LINES = 20000


class Output:
    """The last lines that a command said, and what of them is progress."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._progress = progress
        self._label = label

    def hear(self, line: str) -> None:
        """One line."""
        self.lines.append(line)
        if found := _EXTENSION.search(line):
            self._label = f"compiling {found[1] or found[2]}"
        if found := _PERCENT.match(line):
            self._progress.tell(self._label, done=int(found[1]), total=100, unit="%")
        elif found := _UNITS.match(line):
            self._progress.tell(self._label, done=int(found[1]), total=int(found[2]), unit="unit")

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.lines)

    def why(self) -> str:
        """The first line that names a cause, else the last line."""
        told = [line.strip() for line in self.lines if line.strip()]
        return next((line for line in told if _CAUSES.search(line)), told[-1] if told else "it said nothing")[:300]

    def killed(self) -> bool:
        """Whether a compiler was killed, which the kernel does when the memory is gone."""
        return any(_KILLED.search(line) for line in self.lines)


def run(argv: Sequence[str], environment: Mapping[str, str], cwd: Path, output: Output) -> int:
    """Run it to its end; its exit code."""
    with subprocess.Popen(
        argv, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        for line in child.stdout or ():
            output.hear(line)
            sys.stdout.write(line)
            sys.stdout.flush()
    return child.returncode
