"""What CUDA compilers and which conda a box has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from cuda_toolkit.choose import Found

CONDA_PROGRAMS = ("micromamba", "mamba", "conda")
# Rented images have conda on the PATH of interactive shells only.
CONDA_PLACES = ("/root/miniconda3", "/opt/conda", "/opt/miniconda3", "/root/anaconda3")


def look(path: str | None = None, system: Path = Path("/usr/local"), condas: tuple[str, ...] = CONDA_PLACES) -> Found:
    """Asks each nvcc that can be found for its release."""
    candidates = [*sorted(system.glob("cuda-*"), reverse=True), system / "cuda"]
    on_path = shutil.which("nvcc", path=path)
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    toolkits: dict[str, str] = {}
    for place in dict.fromkeys(candidate.resolve() for candidate in candidates if candidate.exists()):
        if release := nvcc_release(place):
            toolkits[str(place)] = release
    found = (shutil.which(name, path=path) for name in CONDA_PROGRAMS)
    homes = (Path(home) / "bin" / "conda" for home in condas)
    conda = next((name for name in found if name), None) or next((str(p) for p in homes if os.access(p, os.X_OK)), None)
    return Found(toolkits, conda)


def nvcc_release(toolkit: Path) -> str | None:
    """The release of the nvcc of a toolkit, as "12.4"; None when it has none that runs."""
    try:
        done = subprocess.run(
            [str(toolkit / "bin/nvcc"), "--version"], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError:
        return None
    release = re.search(r"release (\d+\.\d+)", done.stdout)
    return release[1] if release and done.returncode == 0 else None
