"""Wheels that were built on a box, at home: taken out of backups, and sent to the next box that can use them.

`<data dir>/wheelhouse/<key>/` holds one wheel and `wheel.json`, as `<root>/wheelhouse/<key>/` does on a box (role
`wheelhouse`). A directory that has its name is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox import backups, paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubox.remote.host import Host

NAME = "wheelhouse"
_ABOUT = "wheel.json"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel at `place`; what it was built for, in the words of `wheel.json`. `size` in bytes; `variant`: of which CPU
    and options of its build, where that matters."""

    place: Path
    key: str
    package: str
    version: str
    torch: str
    cuda: str
    python: str
    arch: str
    file: str
    sha256: str
    size: int
    variant: str = ""


def house() -> Path:
    """Where wheels are kept on this machine."""
    return paths.data_dir() / NAME


def wheels() -> tuple[Wheel, ...]:
    """All that are kept; what cannot be read is left out."""
    return tuple(wheel for place in sorted(house().glob("[!.]*")) if (wheel := _read(place)) is not None)


def store(backup: Path) -> tuple[Wheel, ...]:
    """Take the wheels out of the backup at `backup` that are not kept yet; those that were new.

    One that is not what its `wheel.json` says is left where it is. Raises `OSError` when there is no room.
    """
    new = []
    for about in sorted((backup / backups.FILES / NAME).glob(f"*/{_ABOUT}")):
        wheel, target = _read(about.parent), house() / about.parent.name
        if wheel is None or target.exists() or _sha256(wheel.place / wheel.file) != wheel.sha256:
            continue
        house().mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=house()))
        for name in (wheel.file, _ABOUT):
            shutil.copyfile(wheel.place / name, partial / name)
        backups.flush(partial)
        if target.exists():  # another process was quicker
            shutil.rmtree(partial)
        else:
            partial.rename(target)
            new.append(wheel)
    return tuple(new)


def fitting(variables: Mapping[str, object], kept: Sequence[Wheel]) -> tuple[Wheel, ...]:
    """What a box with these role variables may install: as far as they say package, version, torch, CUDA,
    architectures and options. The box compares exactly; a wheel too many costs a few seconds of sending."""
    wanted = [*_flash_attn(variables), *_ktransformers(variables)]
    return tuple(wheel for wheel in kept if any(_fits(wheel, wish) for wish in wanted))


def send(host: Host, root: str, chosen: Sequence[Wheel]) -> tuple[Wheel, ...]:
    """Put wheels into `<root>/wheelhouse` of a box, those that it has not yet; what was sent.

    Raises what the link raises, and `RemoteCommandFailed` on a full disk. A killed `send` leaves nothing that the box
    would take for a wheel: `wheel.json` comes last.
    """
    if not chosen:
        return ()
    listed = host.run(f"ls {shlex.quote(f'{root}/{NAME}')}/*/{_ABOUT} 2>/dev/null || true", retry=True).stdout
    there = {Path(line).parent.name for line in listed.splitlines()}
    missing = tuple(wheel for wheel in chosen if wheel.key not in there)
    for wheel in missing:
        for name in (wheel.file, _ABOUT):
            host.put(wheel.place / name, f"{root}/{NAME}/{wheel.key}/{name}", mode=0o644)
    return missing


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is known of a wheel that is wanted; empty: it may be any. `options` stand in its variant."""

    package: str
    version: str
    torch: str
    cuda: str
    archs: tuple[str, ...]
    options: frozenset[str] = frozenset()


def _flash_attn(variables: Mapping[str, object]) -> list[_Wish]:
    if not variables.get("vllm_flash_attn") and "flash_attn_env_name" not in variables:
        return []
    version, torch, cuda, archs = (
        _word(variables, f"flash_attn_{name}") for name in ("version", "torch", "cuda", "archs")
    )
    return [_Wish("flash_attn", version, torch, cuda, (archs, "all") if archs else ())]


def _ktransformers(variables: Mapping[str, object]) -> list[_Wish]:
    """Of the classic recipe, the only one that is built."""
    if variables.get("gpubox_engine") != "ktransformers" or variables.get("ktransformers_recipe") == "current":
        return []
    version, torch, cuda, archs = (
        _word(variables, f"ktransformers_{name}") for name in ("version", "torch", "cuda", "cuda_archs")
    )
    numa = frozenset({"numa"} if variables.get("ktransformers_use_numa") else ())
    return [
        _Wish(package, version, torch, cuda, (archs,) if archs else (), numa)
        for package in ("ktransformers", "custom_flashinfer")
    ]


def _fits(wheel: Wheel, wish: _Wish) -> bool:
    pairs = (
        (wish.version, wheel.version),
        (_minor(wish.torch), _minor(wheel.torch)),
        (_minor(wish.cuda), _minor(wheel.cuda)),
    )
    same = all(has == wanted for wanted, has in pairs if wanted)
    numa = wish.options == {"numa"} & set(wheel.variant.split("-"))
    return wheel.package == wish.package and same and numa and (not wish.archs or wheel.arch in wish.archs)


def _read(place: Path) -> Wheel | None:
    try:
        about: dict[str, Any] = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
        names = ("package", "version", "torch", "cuda", "python", "arch", "file", "sha256")
        fields = {name: str(about[name]) for name in names}
        if fields["file"] != os.path.basename(fields["file"]):  # noqa: PTH119 - a name, not a path
            return None
        fields["variant"] = str(about.get("variant", ""))
        return Wheel(place=place, key=place.name, size=(place / fields["file"]).stat().st_size, **fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _word(variables: Mapping[str, object], name: str) -> str:
    return str(variables.get(name) or "")


def _minor(version: str) -> str:
    """The first two numbers, without a local part: "2.8" of "2.8.0+cu128"."""
    return ".".join(version.partition("+")[0].split(".")[:2])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
