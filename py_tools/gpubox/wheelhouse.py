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
    """A wheel at `place`; what it was built for, in the words of `wheel.json`. `size` in bytes."""

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
    """What a box with these role variables may install: as far as they say package, version, torch, CUDA and
    architectures. The box compares exactly; a wheel too many costs a few seconds of sending."""
    if not variables.get("vllm_flash_attn") and "flash_attn_env_name" not in variables:
        return ()
    wanted = {
        "version": _word(variables, "flash_attn_version"),
        "torch": _minor(_word(variables, "flash_attn_torch")),
        "cuda": _minor(_word(variables, "flash_attn_cuda")),
    }
    archs = (_word(variables, "flash_attn_archs"), "all")

    def fits(wheel: Wheel) -> bool:
        has = {"version": wheel.version, "torch": _minor(wheel.torch), "cuda": _minor(wheel.cuda)}
        same = all(has[name] == value for name, value in wanted.items() if value)
        return wheel.package == "flash_attn" and same and (not archs[0] or wheel.arch in archs)

    return tuple(wheel for wheel in kept if fits(wheel))


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


def _read(place: Path) -> Wheel | None:
    try:
        about: dict[str, Any] = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
        names = ("package", "version", "torch", "cuda", "python", "arch", "file", "sha256")
        fields = {name: str(about[name]) for name in names}
        if fields["file"] != os.path.basename(fields["file"]):  # noqa: PTH119 - a name, not a path
            return None
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
