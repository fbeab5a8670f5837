"""Before open-webui opens its database: is it one of its own, a copy of an older one, uploads that have moved."""

from __future__ import annotations

import sys
from pathlib import Path

from webui_box import version
from webui_box.rehome import rehome


def prepare(place: Path, command: str) -> None:
    """Make the database in `place` ready for the open-webui that `command` starts. Raises `Trouble`."""
    program = version.Program.at(Path(command))
    version.need_known(place, program)
    if (kept := version.keep_before(place, program)) is not None:
        _say(f"the database as it was before open-webui {program.version} is kept in {kept}")
    if moved := rehome(place):
        _say(f"{moved} uploads are looked for in {place / 'data' / 'uploads'} from now on")
    version.note(place, program)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
