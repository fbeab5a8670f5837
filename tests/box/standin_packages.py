"""Packages that stand in for torch, nvcc and FlashAttention, in a directory for a box: small, and built for real.

FlashAttention's has a real `setup.py`, which has real ninja run eight commands; from the fourth on they wait for a
file.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import yaml

from gpubox import paths

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "9.9"
UNITS = 8
FREE = 3

NVCC = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0; fi
for last; do :; done
: > "$last"
"""

SETUP = f'''\
import os, subprocess, sys
from pathlib import Path
from setuptools import setup
from setuptools.command.build_py import build_py
import psutil, torch

class Build(build_py):
    def run(self):
        place = Path("build/temp")
        place.mkdir(parents=True, exist_ok=True)
        edges = "".join(f"build unit{{n}}.o: cuda_compile ../../unit.py\\n" for n in range({UNITS}))
        rule = f"rule cuda_compile\\n  command = {{sys.executable}} $in -c $out.cu -o $out\\n"
        (place / "build.ninja").write_text("ninja_required_version = 1.3\\n" + rule + edges)
        assert Path(os.environ["CUDA_HOME"], "bin/nvcc").exists()
        assert os.environ["FLASH_ATTN_CUDA_ARCHS"] == "80"
        subprocess.run(["ninja", "-v", "-j", os.environ["MAX_JOBS"]], cwd=place, check=True)
        super().run()

setup(name="flash_attn", version="{VERSION}", packages=["flash_attn"], py_modules=["flash_attn_2_cuda"],
      cmdclass={{"build_py": Build}})
'''

UNIT = f"""\
import sys, time
from pathlib import Path
name, out = sys.argv[2], sys.argv[4]
with open("/root/autodl-tmp/compiled", "a") as calls:
    calls.write(name + "\\n")
if int(name[4]) >= {FREE}:
    while not Path("/root/autodl-tmp/go").exists():
        time.sleep(0.05)
Path(out).write_text(name)
"""


def make(place: Path) -> Path:
    """All of them as files in `place`."""
    place.mkdir()
    version = "__version__ = '2.8.0+cu130'\ncuda = '13.0'\n"
    wheel(place, "torch", "2.8.0", {"torch/__init__.py": "", "torch/version.py": version})
    pins = yaml.safe_load((paths.content() / "roles/cuda_toolkit/vars/versions.yml").read_text())["cuda_toolkit_wheels"]
    for pin in pins["13.0"]:
        name, _, number = pin.partition("==")
        below = f"nvidia/cu13/{'bin/nvcc' if name == 'nvidia-cuda-nvcc' else f'nvvm/bin/{name}'}"
        files = {below: NVCC, "nvidia/cu13/include/cuda.h": "", "nvidia/cu13/lib/libcudart.so.13": ""}
        wheel(place, name.replace("-", "_"), number, files)
    top = f"flash_attn-{VERSION}"
    with tarfile.open(place / f"{top}.tar.gz", "w:gz") as archive:
        for name, text in {
            "setup.py": SETUP, "unit.py": UNIT, "flash_attn/__init__.py": "", "flash_attn_2_cuda.py": "",
        }.items():  # fmt: skip
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return place


def wheel(place: Path, name: str, version: str, files: dict[str, str]) -> None:
    """One wheel of pure Python in `place`."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(place / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
