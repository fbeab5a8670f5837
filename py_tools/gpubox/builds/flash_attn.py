"""flash-attn: the published wheel that fits exactly, or a build from source with its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.builds.matrix import matrix
from gpubox.builds.plan import FlashAttention, Refusal
from gpubox.builds.versions import key, minor, nearest, numbers, within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubox.boxfile.models import FlashAttn
    from gpubox.builds.machine import Machine
    from gpubox.builds.matrix import FlashAttnSource, FlashAttnWheels
    from gpubox.builds.plan import Environment


@dataclass(frozen=True, slots=True)
class Choice:
    """What came of it: the decision with its reason, or a refusal."""

    found: FlashAttention | None
    why: str
    refusal: Refusal | None = None


def choose(it: Machine, environment: Environment, asked: FlashAttn | None, *, prefer: str | None = None) -> Choice:
    """flash-attn for `environment`: a wheel where one fits, unless the box file insists on a build.

    `prefer`: the version that the engine was made with, where the box file names none.
    """
    mode = asked.build if asked else "auto"
    version = (asked.version if asked else None) or prefer
    known = {row.version for row in matrix().flash_attn} | {row.version for row in matrix().flash_attn_sources}
    if version is not None and version not in known:
        other = nearest(version, known)
        why = f"flash-attn {version} is not in the list of versions that gpubox knows wheels or sources of"
        return Choice(None, "", Refusal("flash-attn", why, f'`flash_attn.version: "{other}"`'))
    oldest = matrix().limit("flash-attn-oldest-card")
    if old := [capability for capability in it.capabilities if numbers(capability) < numbers(oldest)]:
        message = f"flash-attn has kernels for Ampere and newer ({oldest}); {it.card or 'the card'} has {old[0]}"
        return Choice(
            None, "", Refusal("flash-attn", message, "leave `flash_attn` out; the engine has kernels of its own")
        )
    archs = it.archs or ("80",)
    near, passed = "", []
    if mode != "source":
        for row in matrix().flash_attn:
            if version is not None and row.version != version:
                continue
            reason = _misfit(row, environment, it, archs)
            if reason is None:
                return Choice(_wheel(row, environment, it, archs, asked), _praise(row, environment))
            passed.append((row, reason))
        near = _nearest(passed)
    if mode == "wheel":
        message = f"no published wheel of flash-attn fits {_what(environment, it)}"
        return Choice(
            None, "", Refusal("flash-attn", f"{message}: {near}", "`flash_attn.build: auto`, which compiles it")
        )
    return _source(it, environment, asked, version, archs, near)


def names(row: FlashAttnWheels) -> Iterable[str]:
    """Every file name that a row stands for."""
    abis = [False, True] if "{abi}" in row.name else [False]
    for cuda in row.cuda:
        for torch in row.torch:
            for python in row.python:
                if not _left_out(row, cuda, torch, python):
                    for abi in abis:
                        yield file_name(row, cuda=cuda, torch=torch, python=python, abi=abi)


def file_name(row: FlashAttnWheels, *, cuda: str, torch: str, python: str, abi: bool) -> str:
    """The exact name of one wheel."""
    return row.name.format(
        version=row.version,
        cuda=row.cuda[cuda],
        torch=torch,
        abi=str(abi).upper(),
        python=python.replace(".", ""),
        platform=row.platform,
    )


def _wheel(
    row: FlashAttnWheels, environment: Environment, it: Machine, archs: tuple[str, ...], asked: FlashAttn | None
) -> FlashAttention:
    label = _cuda_key(row, environment.cuda or "") or ""
    name = file_name(
        row,
        cuda=label,
        torch=minor(environment.torch or ""),
        python=environment.python,
        abi=bool(environment.abi),
    )
    return FlashAttention(
        environment=environment.name,
        version=row.version,
        build="wheel",
        archs=archs,
        wheel=name,
        base_url=row.base_url,
        publisher=row.publisher,
        max_jobs=asked.max_jobs if asked else None,
        jobs=it.jobs(),
    )


def _source(
    it: Machine,
    environment: Environment,
    asked: FlashAttn | None,
    version: str | None,
    archs: tuple[str, ...],
    near: str,
) -> Choice:
    torch = environment.torch or ""
    row = _source_row(version, torch)
    if row is None or not set(archs) <= set(row.cards):
        known = max((row.torch[1] for row in matrix().flash_attn_sources), key=key)
        message = f"flash-attn {version or ''} is not known to compile for {_what(environment, it)}".replace("  ", " ")
        return Choice(None, "", Refusal("flash-attn", message, f"a torch up to {known}, or leave `flash_attn` out"))
    jobs = min(it.jobs(), asked.max_jobs) if asked and asked.max_jobs else it.jobs()
    found = FlashAttention(
        environment=environment.name,
        version=row.version,
        build="source",
        archs=archs,
        max_jobs=asked.max_jobs if asked else None,
        jobs=jobs,
        units=row.units,
    )
    return Choice(found, "the box file says so" if asked and asked.build == "source" else f"no wheel fits: {near}")


def _source_row(version: str | None, torch: str) -> FlashAttnSource | None:
    """The sources of that version, else the newest that are for this torch."""
    for row in matrix().flash_attn_sources:
        if version in (None, row.version) and within(torch, row.torch):
            return row
    return None


def _misfit(row: FlashAttnWheels, environment: Environment, it: Machine, archs: tuple[str, ...]) -> str | None:
    """What keeps a row's wheels from this environment, the farthest first; None when one of them is for it."""
    python, torch = environment.python, minor(environment.torch or "")
    label = _cuda_key(row, environment.cuda or "")
    missing = [arch for arch in archs if arch not in row.cards]
    wrong = {
        f"they are for torch {row.torch[0]} to {row.torch[-1]}": torch not in row.torch,
        f"they are for CUDA {', '.join(row.cuda)}": label is None,
        f"they are for Python {row.python[0]} to {row.python[-1]}": python not in row.python
        or _left_out(row, label or "", torch, python),
        f"they are for {row.machine}": not (it.x86 if row.machine == "x86_64" else it.arch == row.machine),
        f"they need glibc {row.glibc}": it.libc == "musl" or (bool(it.glibc) and it.glibc < numbers(row.glibc)),
        f"they have no kernels for sm_{missing[0] if missing else ''}": bool(missing),
    }
    return next((reason for reason, holds in wrong.items() if holds), None)


def _cuda_key(row: FlashAttnWheels, cuda: str) -> str | None:
    return next((name for name in (cuda, cuda.partition(".")[0]) if name in row.cuda), None)


def _left_out(row: FlashAttnWheels, cuda: str, torch: str, python: str) -> bool:
    it = {"cuda": cuda, "torch": torch, "python": python}
    return any(all(it[what] == value for what, value in item.items()) for item in row.without)


def _nearest(passed: list[tuple[FlashAttnWheels, str]]) -> str:
    # The last thing that is looked at is the least far away.
    order = ("torch", "CUDA", "Python", "x86", "glibc", "kernels")
    ranked = sorted(passed, key=lambda item: max((at for at, word in enumerate(order) if word in item[1]), default=0))
    if not ranked:
        return "none is published of that version"
    row, reason = ranked[-1]
    return f"nearest are {row.publisher}'s of {row.version}, but {reason}"


def _praise(row: FlashAttnWheels, environment: Environment) -> str:
    fits = (
        f"fits torch {minor(environment.torch or '')}, CUDA {environment.cuda}, cp{environment.python.replace('.', '')}"
    )
    if "{abi}" in row.name:
        fits += f", C++ ABI {str(environment.abi).upper()}"
    return fits if row.publisher == "Dao-AILab" else f"{fits}; a third party's ({row.publisher}), the project has none"


def _what(environment: Environment, it: Machine) -> str:
    return f"torch {environment.torch} with CUDA {environment.cuda}, Python {environment.python}, {it.arch}" + (
        f", sm_{it.archs[-1]}" if it.archs else ""
    )
