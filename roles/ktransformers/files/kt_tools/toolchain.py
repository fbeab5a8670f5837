"""Compilers and libraries that the build needs, looked for before anything is compiled."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

# doc/en/install.md at v0.3.2: "gcc, g++>=11 and cmake>=3.25".
_GCC = (11,)
_CMAKE = (3, 25)
_HEADERS = ("usr/include", "usr/local/include", "usr/include/x86_64-linux-gnu")
_NUMA = "NUMA library found"


def look(environment: Mapping[str, str], torch_cuda: str | None, *, numa: bool, root: Path = Path("/")) -> None:
    """Raises `Trouble`, with the command that mends it, for the first thing that is missing or too old."""
    path = environment["PATH"]
    for program, package in (("gcc", "gcc"), ("g++", "g++")):
        _at_least(program, version(program, path), _GCC, f"an image with Ubuntu 22.04 has it; or install {package}-11")
    _at_least("cmake", version("cmake", path), _CMAKE, "it should come with the environment: make that again")
    nvcc(environment.get("CUDA_HOME", ""), torch_cuda)
    if numa and not any((root / place / "numa.h").exists() for place in _HEADERS):
        raise Trouble(
            "`ktransformers.use_numa: true` needs the package libnuma-dev, without which the build would leave NUMA out"
            " silently (up to 0.2.3); on the box: `apt-get install -y libnuma-dev`"
        )


def nvcc(cuda_home: str, torch_cuda: str | None) -> None:
    """Raises `Trouble` without nvcc, or with one of another major version than torch's CUDA."""
    program = Path(cuda_home) / "bin" / "nvcc"
    if not cuda_home or not program.is_file():
        raise Trouble(
            f"there is no CUDA compiler (`{program}`), and KTransformers is built with one: the role `cuda_toolkit` "
            "brings it; or use `ktransformers.recipe: current`, which needs none"
        )
    have = version(str(program), "")
    if torch_cuda is None:
        raise Trouble(
            "the environment's torch was built without CUDA: set `ktransformers_torch` to a CUDA build, as 2.6.0"
        )
    if have is None or str(have[0]) != torch_cuda.split(".", maxsplit=1)[0]:
        shown = ".".join(map(str, have)) if have else "unknown"
        raise Trouble(
            f"nvcc is {shown} and torch was built with CUDA {torch_cuda}: PyTorch refuses to build extensions with "
            f"another major version; set `cuda_toolkit_version` to {torch_cuda}"
        )


def numa_was_built(said: str) -> bool:
    """Whether the build's output says that it has NUMA: up to 0.2.3 it is left out without a word of warning."""
    return any(_NUMA in line and "enabling NUMA support" in line for line in said.splitlines())


def version(program: str, path: str) -> tuple[int, ...] | None:
    """The version that a program says it has; None when it is not there or says nothing."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=False, env={"PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # nvcc: "release 12.4, V12.4.131"; gcc: "gcc (Debian 12.2.0-14) 12.2.0"; cmake: "cmake version 3.31.6".
    found = re.findall(r"release (\d+(?:\.\d+)+)|(?<![\d.-])(\d+(?:\.\d+)+)(?![\d.-])", done.stdout)
    numbers = [one or other for one, other in found]
    return tuple(int(part) for part in numbers[0].split(".")) if numbers and done.returncode == 0 else None


def _at_least(program: str, have: tuple[int, ...] | None, least: tuple[int, ...], hint: str) -> None:
    wanted = ".".join(map(str, least))
    if have is None:
        raise Trouble(f"there is no {program} on the box, {wanted} or newer is needed: {hint}")
    if have < least:
        raise Trouble(f"{program} is {'.'.join(map(str, have))}, {wanted} or newer is needed: {hint}")
