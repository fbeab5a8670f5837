"""Real parts of FlashAttention's build: its sources, torch's headers, and the ninja that the role pins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import make_env
import yaml

from box.testbox.base import locked
from flash_build import indexes
from gpubox import paths

if TYPE_CHECKING:
    from pathlib import Path

# The default build of the index, for CUDA 13.0; only its headers are wanted, so any Python's will do.
TORCH = "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"
TORCH_SHA256 = "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7"
# As setup.py of 2.8.3 and torch's BuildExtension write them.
FLAGS = (
    "-D__CUDA_NO_HALF_OPERATORS__ -D__CUDA_NO_HALF_CONVERSIONS__ -D__CUDA_NO_BFLOAT16_CONVERSIONS__ "
    "-D__CUDA_NO_HALF2_OPERATORS__ --compiler-options -fPIC -O3 -std=c++17 -U__CUDA_NO_HALF_OPERATORS__ "
    "-U__CUDA_NO_HALF_CONVERSIONS__ -U__CUDA_NO_HALF2_OPERATORS__ -U__CUDA_NO_BFLOAT16_CONVERSIONS__ "
    "--expt-relaxed-constexpr --expt-extended-lambda --use_fast_math -gencode arch=compute_80,code=sm_80 "
    "--threads 1 -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=flash_attn_2_cuda"
)


def versions(role: str) -> dict[str, object]:
    """The pinned versions of a role."""
    values: dict[str, object] = yaml.safe_load((paths.content() / f"roles/{role}/vars/versions.yml").read_text())
    return values


def fetched(name: str, sha256: str, package: str, place: Path) -> Path:
    """A file of the package index, by the way that the role fetches its source archive."""
    os.environ.setdefault("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    settings = make_env.pip_configuration(os.environ)
    target = place / name
    if not target.exists():
        indexes.fetch(name, sha256, indexes.places(settings, os.environ, package), target, lambda *_: None)
    return target


def sources(place: Path) -> Path:
    """FlashAttention's source tree of the pinned version, CUTLASS with it."""
    pinned = versions("flash_attn")
    version, sums = str(pinned["flash_attn_pinned_version"]), pinned["flash_attn_sdists"]
    assert isinstance(sums, dict)
    with locked(place / "sources.lock"):
        tree = place / f"flash_attn-{version}"
        if not tree.is_dir():
            archive = fetched(f"flash_attn-{version}.tar.gz", sums[version], "flash-attn", place)
            with tarfile.open(archive) as tar:
                tar.extractall(place / "partial", filter="data")
            (place / "partial" / tree.name).rename(tree)
        return tree


def headers(place: Path) -> Path:
    """`include` of torch for CUDA. The wheel of torch for CPUs lacks some of them."""
    with locked(place / "headers.lock"):
        include = place / f"{TORCH.rpartition('-cp311')[0]}-include"
        if not include.is_dir():
            wheel = fetched(TORCH, TORCH_SHA256, "torch", place)
            partial = place / "partial-headers"
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.startswith("torch/include/")]
                archive.extractall(partial, names)
            (partial / "torch/include").rename(include)
            shutil.rmtree(partial)
            wheel.unlink()
        return include


def ninja(place: Path) -> Path:
    """The pinned ninja of PyPI."""
    tools = versions("flash_attn")["flash_attn_tools"]
    assert isinstance(tools, list)
    (pin,) = (tool for tool in tools if tool.startswith("ninja=="))
    target = place / str(pin)
    with locked(place / "ninja.lock"):
        if not target.is_dir():
            argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), pin]
            subprocess.run(argv, check=True)
    return target / "bin/ninja"


def ninja_file(kept: Path, toolkit: str, units: list[str]) -> str:
    """What torch's BuildExtension writes for `units`; `toolkit` is a path, or ninja's words for one."""
    tree, include = sources(kept), headers(kept)
    csrc = tree / "csrc"
    wheres = [csrc / "flash_attn", csrc / "flash_attn/src", csrc / "cutlass/include", include]
    wheres += [include / "torch/csrc/api/include"]
    words = " ".join(f"-I{where}" for where in wheres) + f" -I{sysconfig.get_paths()['include']} -I{toolkit}/include"
    rule = f"rule cuda_compile\n  command = {toolkit}/bin/nvcc {words} -c $in -o $out {FLAGS}\n"
    edges = "".join(f"build {unit}.o: cuda_compile {csrc}/flash_attn/src/{unit}.cu\n" for unit in units)
    return f"ninja_required_version = 1.3\n{rule}\n{edges}"


def project(place: Path, kept: Path, toolkit: Path, units: list[str]) -> Path:
    """A directory with a `setup.py` that has ninja compile `units`, as torch's BuildExtension does."""
    below = place / "build/temp"
    below.mkdir(parents=True)
    (below / "build.ninja").write_text(ninja_file(kept, str(toolkit), units))
    command = [str(ninja(kept)), "-v", "-j"]
    (place / "setup.py").write_text(
        "import os, subprocess, sys\n"
        f"argv = {command!r} + [os.environ['MAX_JOBS']]\n"
        "sys.exit(subprocess.run(argv, cwd='build/temp').returncode)\n"
    )
    return place
