"""Making a CUDA_HOME (bin, include, lib64, nvvm) of what was fetched, and proving that it compiles."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from cuda_toolkit.choose import Trouble

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = """\
#include <cuda_runtime.h>
__global__ void twice(float *values) { values[threadIdx.x] *= 2.0f; }
int main() { twice<<<1, 32>>>(nullptr); return cudaGetLastError() == cudaSuccess; }
"""


def wheels(place: Path) -> Path:
    """Wheels leave `bin`, `include`, `lib` and `nvvm` side by side, but no `lib64`, and libraries only under their full
    names: compilers look for `-lcudart`. And uv's modes of programs are the wheel's, which not all wheels set."""
    if not (place / "bin/nvcc").is_file():
        raise Trouble(f"the wheels hold no nvcc (looked in `{place}/bin`)")
    for program in (*(place / "bin").iterdir(), *(place / "nvvm/bin").iterdir()):
        if program.is_file():
            program.chmod(0o755)
    _link(place / "lib64", "lib")
    for library in sorted((place / "lib").glob("*.so.*")):
        _link(library.with_name(library.name.partition(".so")[0] + ".so"), library.name)
    return place


def conda(prefix: Path) -> Path:
    """conda's packages put headers and libraries below `targets/` or straight into the prefix, by version."""
    home = prefix / "cuda_home"
    home.mkdir(exist_ok=True)
    target = prefix / "targets" / f"{os.uname().machine}-linux"
    for name, places in {
        "bin": (prefix / "bin",),
        "nvvm": (prefix / "nvvm",),
        "include": (target / "include", prefix / "include"),
        "lib64": (target / "lib", prefix / "lib"),
        "lib": (target / "lib", prefix / "lib"),
    }.items():
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise Trouble(f"conda's packages hold no `{name}` (looked in {', '.join(map(str, places))})")
        _link(home / name, str(found))
    return home


def prove(home: Path, version: str, archs: list[str], scratch: Path) -> None:
    """Compile and link a small kernel for each architecture ("80"). Raises `Trouble` with what mends it."""
    if shutil.which("g++") is None:
        raise Trouble("nvcc needs a C++ compiler, and there is no `g++`: `apt-get install -y g++`, then try again")
    source = scratch / "twice.cu"
    source.write_text(KERNEL, encoding="utf-8")
    flags = [word for arch in archs for word in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    argv = [str(home / "bin/nvcc"), *flags, str(source), "-o", str(scratch / "twice")]
    # Of another toolkit that stands in the environment, the libraries and headers would be mixed with ours.
    clean = {k: v for k, v in os.environ.items() if k not in {"LD_LIBRARY_PATH", "CPATH", "LIBRARY_PATH", "CUDA_HOME"}}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=clean)
    said = done.stdout + done.stderr
    (scratch / "twice").unlink(missing_ok=True)
    if done.returncode:
        raise Trouble(_explain(said, version))


def swap(link: Path, target: Path) -> None:
    """Let the path mean the new toolkit, in one step."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(target, link.parent) if target.is_relative_to(link.parent) else target)
    beside.replace(link)


def _explain(said: str, version: str) -> str:
    if "unsupported GNU version" in said:
        newest = re.search(r"gcc versions later than (\d+)", said)
        which = f" up to {newest[1]}" if newest else ""
        return f"nvcc {version} takes g++{which} only: `apt-get install -y g++-{newest[1] if newest else '12'}`"
    if arch := re.search(r"Unsupported gpu architecture '(\w+)'", said):
        return f"nvcc {version} cannot compile for {arch[1]}: choose a newer `cuda_toolkit_version`"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"nvcc {version} does not compile: {lines[-1] if lines else 'it said nothing'}"


def _link(path: Path, target: str) -> None:
    if not path.is_symlink() and not path.exists():
        path.symlink_to(target)
