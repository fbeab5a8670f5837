"""Which box file belongs to a box."""

from __future__ import annotations

import difflib
from pathlib import Path

from gpubox.boxfile import BoxFile, load
from gpubox.errors import UnknownBox
from gpubox.ledger import Ledger, check_name


def find_box_file(name: str, given: Path | None = None) -> Path:
    """`given`, else `boxes/<name>.yml` below the current directory, else the one the ledger remembers.

    Raises `UsageError` for what can be no name, and `UnknownBox` with the nearest names and the command that writes a
    starter file.
    """
    check_name(name)
    if given is not None:
        return given.absolute()
    for suffix in (".yml", ".yaml"):
        path = Path("boxes") / f"{name}{suffix}"
        if path.exists():
            return path.absolute()
    with Ledger() as ledger:
        record = ledger.find(name)
        if record is not None and record.box_file is not None and record.box_file.exists():
            return record.box_file
        names = {box.name for box in ledger.boxes()} | {path.stem for path in Path("boxes").glob("*.y*ml")}
    near = difflib.get_close_matches(name, sorted(names - {name}), n=1)
    raise UnknownBox(
        f"no box file `boxes/{name}.yml`" + (f"; did you mean `{near[0]}`?" if near else ""),
        where=str(Path("boxes").absolute()),
        hint=f"gpubox init {name} --template attach",
    )


def box_of(name: str) -> BoxFile | None:
    """What the box file of a known box says; None when it has none, or none any more."""
    with Ledger() as ledger:
        path = ledger.get(name).box_file
    return load(path) if path is not None and path.exists() else None
