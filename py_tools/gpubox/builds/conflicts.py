"""Pairs that do not go together, with what happens and what mends it. Every environment of a plan passes through."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gpubox.builds.matrix import matrix
from gpubox.builds.versions import Version, dotted, minor, numbers, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A libstdc++ that gcc's own programs need, by gcc's major version (libstdc++ manual, "ABI Policy and Guidelines").
GLIBCXX_OF_GCC = {9: "3.4.28", 10: "3.4.28", 11: "3.4.29", 12: "3.4.30", 13: "3.4.32", 14: "3.4.33", 15: "3.4.34"}
_BLACKWELL_NVCC: Version = (12, 8)
_KT_CMAKE: Version = (3, 25)
_KT_GCC: Version = (11,)


@dataclass(frozen=True, slots=True)
class Combination:
    """What would come together in one environment on one box. What is left out is not judged.

    `abi`: torch's C++ ABI, `built_abi` that of an extension. `compiles`: whether something is built with `nvcc`.
    `libstdcxx`: the newest GLIBCXX that the environment loads, `needs_glibcxx` what its libraries ask for.
    """

    packages: dict[str, str] = field(default_factory=dict)
    python: str = ""
    cuda: str = ""
    abi: bool | None = None
    built_abi: bool | None = None
    nvcc: str = ""
    compiles: bool = False
    gcc: str = ""
    cmake: str = ""
    driver: Version = ()
    glibc: Version = ()
    needs_glibc: Version = ()
    libstdcxx: Version = ()
    needs_glibcxx: Version = ()
    library_path: str = ""
    archs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clash:
    """Two things that do not go together. `error`: it fails; `warning`: it works with the loss that is named."""

    rule: str
    level: Literal["error", "warning"]
    message: str
    fix: str


def clashes(combination: Combination) -> list[Clash]:
    """Everything in `combination` that is known not to go together."""
    return [clash for rule in RULES for clash in rule(combination)]


def _driver(it: Combination) -> Iterator[Clash]:
    if not it.driver or not it.cuda:
        return
    least = matrix().driver_for(it.cuda)
    if it.driver[0] < least:
        yield Clash(
            "driver",
            "error",
            f"driver {dotted(it.driver)} is too old for CUDA {it.cuda}, which needs driver {least} or newer",
            f"packages of CUDA {_cuda_for(it.driver) or 'none that gpubox knows'}, or a host with driver {least} or "
            "newer (it belongs to the host, no image has it)",
        )


def _nvcc_major(it: Combination) -> Iterator[Clash]:
    if it.compiles and it.nvcc and it.cuda and numbers(it.nvcc)[:1] != numbers(it.cuda)[:1]:
        yield Clash(
            "nvcc-major",
            "error",
            f"nvcc {it.nvcc} and a torch of CUDA {it.cuda}: torch refuses to build any extension (RuntimeError)",
            f"an nvcc of CUDA {it.cuda}",
        )


def _nvcc_minor(it: Combination) -> Iterator[Clash]:
    nvcc, cuda = numbers(it.nvcc)[:2], numbers(it.cuda)[:2]
    if it.compiles and nvcc and cuda and nvcc != cuda and nvcc[0] == cuda[0]:
        effects = [f"wheels are labelled cu{''.join(map(str, nvcc))}, so that nobody finds them by torch's CUDA"]
        if nvcc < _BLACKWELL_NVCC:
            effects.append("no code for sm_100 and sm_120")
        effects.append("an older limit for the host's gcc" if nvcc < cuda else "code that an older driver may not take")
        yield Clash(
            "nvcc-minor",
            "warning",
            f"nvcc {it.nvcc} and a torch of CUDA {it.cuda}: torch only warns; {'; '.join(effects)}",
            f"an nvcc of CUDA {it.cuda}",
        )


def _nvcc_too_new(it: Combination) -> Iterator[Clash]:
    version = it.packages.get("ktransformers", "")
    for row in matrix().ktransformers:
        if row.version == version and row.nvcc_below and it.nvcc and numbers(it.nvcc) >= numbers(row.nvcc_below):
            yield Clash(
                "nvcc-too-new",
                "error",
                f"KTransformers {version} does not compile with nvcc {it.nvcc} ({row.nvcc_below} and newer)",
                f"an nvcc of CUDA {row.cuda}",
            )


def _nvcc_archs(it: Combination) -> Iterator[Clash]:
    newest = max((int(arch) for arch in it.archs), default=0)
    if it.compiles and it.nvcc and newest > 90 and numbers(it.nvcc) < _BLACKWELL_NVCC:
        yield Clash(
            "nvcc-archs",
            "error",
            f"nvcc {it.nvcc} does not know sm_{newest} (12.8 is the first), and flash-attn's newest sources add PTX "
            "for the highest architecture that is asked for",
            "FLASH_ATTN_CUDA_ARCHS=80 on cards before Blackwell, an nvcc of 12.8 or newer on Blackwell",
        )


def _gcc(it: Combination) -> Iterator[Clash]:
    have = numbers(it.gcc)[:1]
    if it.compiles and have and "ktransformers" in it.packages and have < _KT_GCC:
        yield Clash(
            "compilers",
            "error",
            f"KTransformers is compiled with gcc 11 or newer, the box has {it.gcc}",
            "choose an image with Ubuntu 22.04 or newer",
        )
    known = [row for row in matrix().cuda if row.cuda == minor(it.nvcc)] if it.nvcc else []
    if it.compiles and have and known and have[0] > known[0].gcc:
        yield Clash(
            "gcc",
            "error",
            f"nvcc {it.nvcc} takes gcc up to {known[0].gcc}, the box has {it.gcc}",
            f"on the box: `apt-get install -y gcc-{known[0].gcc} g++-{known[0].gcc}`, and `CC`, `CXX` that name them",
        )


def _cmake(it: Combination) -> Iterator[Clash]:
    if it.compiles and "ktransformers" in it.packages and it.cmake and numbers(it.cmake) < _KT_CMAKE:
        yield Clash(
            "cmake",
            "warning",
            f'cmake {it.cmake} ends in "requires the language dialect CUDA20"; KTransformers needs 3.25 or newer',
            "cmake from PyPI in the environment, which comes first on its PATH",
        )


def _abi(it: Combination) -> Iterator[Clash]:
    if it.abi is not None and it.built_abi is not None and it.abi != it.built_abi:
        yield Clash(
            "abi",
            "error",
            f"an extension with cxx11abi{str(it.built_abi).upper()} beside a torch with cxx11abi{str(it.abi).upper()}: "
            "`undefined symbol` at the first import",
            f"a wheel with cxx11abi{str(it.abi).upper()} in its name (torch 2.6.0: FALSE for cu124, TRUE for cu126)",
        )


def _glibc(it: Combination) -> Iterator[Clash]:
    if it.glibc and it.needs_glibc and it.glibc < it.needs_glibc:
        yield Clash(
            "libc",
            "error",
            f"the box has glibc {dotted(it.glibc)}, its wheels need {dotted(it.needs_glibc)}",
            "choose an image with Ubuntu 22.04 or newer",
        )


def _glibcxx(it: Combination) -> Iterator[Clash]:
    if it.libstdcxx and it.needs_glibcxx and it.libstdcxx < it.needs_glibcxx:
        yield Clash(
            "glibcxx",
            "error",
            f"the environment loads a libstdc++ with GLIBCXX_{dotted(it.libstdcxx)}, its libraries need "
            f"GLIBCXX_{dotted(it.needs_glibcxx)}: `version not found` at the first import",
            "on the box: `conda install -n base -y -c conda-forge libstdcxx-ng`; do not copy the system's library",
        )


def _library_path(it: Combination) -> Iterator[Clash]:
    for path in it.library_path.split(":"):
        found = re.search(r"cuda-(\d+\.\d+)", path)
        if found and it.cuda and numbers(found[1]) < numbers(it.cuda):
            yield Clash(
                "library-path",
                "warning",
                f"LD_LIBRARY_PATH of the login names CUDA {found[1]} (`{path}`), older than torch's {it.cuda}: torch "
                "itself fails where that is set (`undefined symbol: __nvJitLinkComplete_12_4`)",
                "take the line with LD_LIBRARY_PATH out of `~/.bashrc` or `/etc/profile` on the box",
            )
            return


def _python(it: Combination) -> Iterator[Clash]:
    version = it.packages.get("kt-kernel", "")
    row = next((row for row in matrix().ktransformers if row.recipe == "current" and row.version == version), None)
    if row is not None and it.python and not within(it.python, row.python):
        yield Clash(
            "python",
            "error",
            f"kt-kernel {version} has wheels for Python {row.python[0]} and {row.python[1]} only, not for {it.python}",
            f'`python_env.python: "{row.prefer}"`',
        )


def _transformers(it: Combination) -> Iterator[Clash]:
    version = it.packages.get("vllm", "")
    row = next((row for row in matrix().vllm if row.version == version), None)
    if row is None or not row.cap:
        return
    asked = it.packages.get("transformers", "")
    if not asked or (numbers(asked) or (99,)) >= (5,):
        yield Clash(
            "transformers",
            "error",
            f"vLLM {version} sets transformers no upper bound and gets {asked or 'the newest'}; it was made before 5",
            f"`{row.cap}` beside it",
        )


def _one_directory(it: Combination) -> Iterator[Clash]:
    for row in matrix().same_directory:
        if len(both := [name for name in row.packages if name in it.packages]) > 1:
            yield Clash(
                "same-directory",
                "error",
                f"{' and '.join(both)} both write `{row.directory}/`: one overwrites the other, unseen by resolvers",
                "one environment for each",
            )


def _together(it: Combination) -> Iterator[Clash]:
    for row in matrix().never_together:
        if all(name in it.packages for name in row.packages):
            message = f"{' and '.join(row.packages)} in one environment: {row.why}"
            yield Clash("together", "error", message, "one environment for each")


def _cuda_for(driver: Version) -> str | None:
    """The newest major version of CUDA that a driver runs."""
    return max((row.cuda for row in matrix().drivers if driver[0] >= row.driver), default=None)


RULES: tuple[Callable[[Combination], Iterator[Clash]], ...] = (
    _driver,
    _nvcc_major,
    _nvcc_minor,
    _nvcc_too_new,
    _nvcc_archs,
    _gcc,
    _cmake,
    _abi,
    _glibc,
    _glibcxx,
    _library_path,
    _python,
    _transformers,
    _one_directory,
    _together,
)
