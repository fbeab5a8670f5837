"""What each engine needs: versions, sizes, drivers, with the source of every number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from gpubox.preflight.case import GIB

if TYPE_CHECKING:
    from gpubox.preflight.case import Case

Version = tuple[int, ...]

# What role `vllm` pins when the box file names no version (vars/versions.yml; a test compares). For a driver too old
# for CUDA 13 the converge takes the last release on the package index whose wheels are of CUDA 12.
VLLM_PINNED: dict[Literal["cpu", "cuda12", "cuda13"], str] = {"cpu": "0.32.0", "cuda12": "0.19.1", "cuda13": "0.32.0"}
# The first release on torch 2.8 with CUDA 12.8, which is the first that compiles for Blackwell (sm_100, sm_120).
VLLM_FIRST_BLACKWELL: Version = (0, 10, 2)
# NVIDIA's minor-version compatibility table: CUDA 12.x runs on 525 and later, 13.x on 580 and later.
DRIVER_FOR_CUDA: dict[int, int] = {11: 450, 12: 525, 13: 580}
COMPUTE_CAPABILITY: Version = (7, 5)
BLACKWELL: Version = (10, 0)
KTRANSFORMERS_GLIBC: Version = (2, 35)

# What roles/supervisor/files/bootstrap.sh takes for the controller environment.
CONTROLLER_PYTHON: Version = (3, 11)
CONTROLLER_PYTHON_LAST: Version = (3, 13)
# A controller environment (uv, ansible-core, supervisor) measured 95 MB; logs and bundles come on top.
CONTROLLER_BYTES = 200 * 2**20
# vLLM's CPU build, lean, measured 2.1 GB with torch; the small model, its cache and logs fit in the rest.
_CPU_ENV_BYTES = 2.5e9
# torch with CUDA libraries and vLLM.
_CUDA_ENV_BYTES = 12e9
# A converged box has its environments already; logs, results and bundles still grow.
_CONVERGED_BYTES = 200 * 2**20


def numbers(text: str | None) -> Version:
    """The leading numbers of a version: "0.19.1+cu129" is (0, 19, 1); empty when there are none."""
    found = re.match(r"\d+(\.\d+)*", text or "")
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: Version) -> str:
    """(2, 35) is "2.35"."""
    return ".".join(map(str, version))


def vllm_version(case: Case) -> str:
    """The version of vLLM that the box file comes to on this box."""
    given = case.box.vllm.version if case.box and case.box.vllm else None
    if given or case.build == "cpu":
        return given or VLLM_PINNED["cpu"]
    driver = numbers(case.facts.gpu.driver)
    return VLLM_PINNED["cuda12" if driver and driver[0] < DRIVER_FOR_CUDA[13] else "cuda13"]


def vllm_cuda(version: str) -> int:
    """Major CUDA version of the wheels of that vLLM: 13 since 0.20.0 (PR 39878), unless the version says otherwise."""
    if local := re.search(r"\+cu(\d\d)\d$", version):
        return int(local.group(1))
    return 13 if numbers(version) >= (0, 20) else 12


def vllm_glibc(build: Literal["cpu", "cuda"], version: str) -> Version:
    """Oldest glibc that the wheels run on, by their platform tags on the package index.

    manylinux_2_31 up to 0.19, 2_35 for 0.20, then 2_24 or 2_28, where torch's own 2_28 is what counts.
    """
    release = numbers(version)
    if build == "cpu" or release >= (0, 21):
        return (2, 28)
    return (2, 35) if release >= (0, 20) else (2, 31)


def disk_bytes(case: Case) -> float:
    """Free bytes that are needed on the data disk, not counting a model that will be downloaded."""
    if case.converged:
        return _CONVERGED_BYTES
    needed: float = CONTROLLER_BYTES
    if case.build == "cpu":
        needed += _CPU_ENV_BYTES
    elif case.build == "cuda" or (case.box is not None and case.box.engine == "ktransformers"):
        needed += _CUDA_ENV_BYTES
    return needed


def inodes(case: Case) -> int:
    """Free inodes that are needed: an environment of Ansible has some 14,000 files, one with torch and CUDA 50,000."""
    if case.converged:
        return 2_000
    if case.build == "cuda" or (case.box is not None and case.box.engine == "ktransformers"):
        return 80_000
    return 50_000 if case.build == "cpu" else 20_000


def memory_bytes(case: Case) -> float:
    """Memory that is needed while serving.

    vLLM's CPU build: 3.1 GiB resident measured with a KV cache of 1 GiB; the small model's training stays below that.
    vLLM on CUDA: its processes on the host hold 4 GiB and more, whatever the card holds.
    """
    if case.build == "cpu":
        space = case.box.vllm.cpu_kvcache_space if case.box and case.box.vllm else None
        return (2.5 + (space or 1)) * GIB
    if case.serves:
        return 4 * GIB
    return 0.5 * GIB
