"""A mistake in a box file: where it is, and the sentence that mends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubox.errors import BoxFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. `line` and `column` count from 1; `excerpt` are lines of the file to show below it."""

    line: int
    column: int
    path: str
    message: str
    show_column: bool = field(default=False, compare=False)
    excerpt: tuple[str, ...] = field(default=(), compare=False)

    def shown(self, file: str) -> str:
        """`FILE:LINE: FIELD: MESSAGE`, and the excerpt below."""
        place = f"{file}:{self.line}" + (f":{self.column}" if self.show_column else "")
        field_name = f"{self.path}: " if self.path else ""
        return "\n".join([f"{place}: {field_name}{self.message}", *self.excerpt])


def dotted(path: Path) -> str:
    """`("tunnels", 0, "local")` as people write it: `tunnels[0].local`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def box_file_error(file: str, mistakes: Sequence[Mistake]) -> BoxFileError:
    """The error that lists all mistakes, by line."""
    many = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
    lines = [mistake.shown(file) for mistake in sorted(set(mistakes))]
    return BoxFileError(
        "\n".join([f"the box file has {many}:", *lines]),
        where=file,
        hint="mend the lines above; every field is explained in docs/boxfile.md",
    )
