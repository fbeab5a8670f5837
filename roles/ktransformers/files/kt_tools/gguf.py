"""Is this directory one whole GGUF model? KTransformers reads every *.gguf below it and takes them for one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import Trouble

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"GGUF"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})\.gguf$")


@dataclass(frozen=True)
class Model:
    """Bytes and number of the files of one model."""

    bytes: int
    files: int


def look(directory: Path) -> Model:
    """Sizes of the model below `directory`. Raises `Trouble` when it is none, more than one, or not whole."""
    if directory.suffix == ".gguf":
        raise Trouble(f"`{directory}` must be a directory whose name does not end in .gguf: name its parent instead")
    files = sorted(path for path in directory.rglob("*.gguf") if path.is_file()) if directory.is_dir() else []
    if not files:
        raise Trouble(f"there is no GGUF file below `{directory}`: see `model.include` and `model.quant`")
    _one_model(directory, files)
    for path in files:
        with path.open("rb") as opened:
            if opened.read(4) != _MAGIC:
                raise Trouble(f"`{path}` is no GGUF file (its first bytes are others): delete it and fetch it again")
    return Model(sum(path.stat().st_size for path in files), len(files))


def _one_model(directory: Path, files: list[Path]) -> None:
    names: dict[str, set[tuple[int, int]]] = {}
    for path in files:
        shard = _SHARD.match(path.name)
        stem = shard["stem"] if shard else path.stem
        names.setdefault(stem, set()).add((int(shard["number"]), int(shard["of"])) if shard else (1, 1))
    if len(names) > 1:
        some = ", ".join(sorted(names)[:4])
        raise Trouble(
            f"`{directory}` holds {len(names)} models ({some}), and KTransformers would read them as one: "
            "name the directory of one, or choose one with `model.quant`"
        )
    (stem, parts), *_ = names.items()
    of = max(total for _, total in parts)
    missing = sorted(set(range(1, of + 1)) - {number for number, _ in parts})
    if missing:
        some = ", ".join(f"{number:05d}-of-{of:05d}" for number in missing[:4])
        raise Trouble(f"`{directory}` lacks {len(missing)} of the {of} parts of {stem}: {some}; fetch the model again")
