"""What a backup says of the web UI in it: counted in the copy that came home, and kept beside its manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from gpubox import backups
from gpubox.errors import Failed
from gpubox.history import about as history
from gpubox.words import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.history.about import About


class Counted(NamedTuple):
    """`beside`: entries of the manifest. `notes`: sentences on what is not as it should be."""

    about: About | None
    beside: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def count(partial: Path, files: Path) -> Counted:
    """Look at the web UI's database below `files`, if there is one, and write what it holds into `partial`.

    A database that cannot be read is told in a note: it is at home as it was on the box. Raises `OSError`.
    """
    if not (files / history.DATABASE).is_file():
        return Counted(None, (), ())
    try:
        found = history.in_backup(files)
        lacking = history.missing_uploads(files)
    except Failed as error:
        return Counted(None, (), (f"the web UI's database came as it is on the box, but {error.message}",))
    text = json.dumps(found.as_dict(), ensure_ascii=False, indent=1) + "\n"
    notes: tuple[str, ...] = ()
    if lacking:
        what = "1 file that was" if len(lacking) == 1 else f"{len(lacking)} files that were"
        names = "\n".join(shortened(lacking))
        notes = (f"the web UI's database knows of {what} uploaded and cannot be found on the box:\n{names}",)
    return Counted(found, (backups.put_beside(partial, history.ABOUT, text.encode()),), notes)
