"""Hands a copy out that lies on a disk of this machine: the newest below a directory, or the directory itself."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING

from webui_box.errors import Trouble
from webui_box.records import lines

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 45_000
_MANIFEST = "manifest.json"


def write(place: Path) -> None:
    """Every file of it as records: `snapshot` with its name, `file` and its `bytes`, `end`. Raises `Trouble`."""
    chosen = _chosen(place)
    _say({"type": "snapshot", "name": chosen.name, "place": str(chosen)})
    for file in sorted(each for each in chosen.rglob("*") if each.is_file()):
        _say({"type": "file", "path": str(file.relative_to(chosen)), "size": file.stat().st_size})
        with file.open("rb") as source:
            while data := source.read(_PIECE):
                _say({"type": "bytes", "data": base64.b64encode(data).decode("ascii")})
    _say({"type": "end"})
    sys.stdout.flush()


def _chosen(place: Path) -> Path:
    if (place / _MANIFEST).is_file():
        return place
    found = sorted(
        (each.parent for depth in ("*", "*/*") for each in place.glob(f"{depth}/{_MANIFEST}")),
        key=lambda each: each.name,
    )
    whole = [each for each in found if not each.name.startswith(".")]
    if not whole:
        raise Trouble(f"there is no snapshot in `{place}` on the box")
    boxes = {each.parent for each in whole}
    if len(boxes) > 1:
        names = ", ".join(f"`{each}`" for each in sorted(boxes))
        raise Trouble(f"`{place}` has snapshots of several boxes; name one of {names}")
    return whole[-1]


def _say(record: dict[str, object]) -> None:
    sys.stdout.writelines(lines(record))
