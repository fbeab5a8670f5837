"""What commands print: errors, tables, JSON; and the questions they ask."""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpubox.errors import AuthFailed, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpubox.converge.progress import Board
    from gpubox.errors import GpuboxError


def json_option(shape: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--json`, whose help prints the shape of what comes."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON: {shape}")


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; the checks are made all the same.")


def board(*, quiet: bool = False) -> Board:
    """The board of a story, shown on stderr."""
    from gpubox.converge import progress

    return progress.Board(progress.renderer(quiet=quiet))


def error_text(error: GpuboxError) -> str:
    """An error as a person reads it: what, where, how to mend it."""
    red, dim, off = ("\033[31m", "\033[2m", "\033[0m") if _colour(sys.stderr) else ("", "", "")
    text = f"{red}error{off}: {error.message}\n"
    if error.where:
        text += f"  {dim}at{off}: {error.where}\n"
    if error.hint:
        text += f"  {dim}fix{off}: {error.hint}\n"
    return text


def system_error(error: OSError) -> GpuboxError:
    """The error of a file, disk or stream of this machine that nothing else has explained."""
    hint = {
        errno.ENOSPC: "make room (`df -h`), or set `GPUBOX_HOME` and `GPUBOX_CACHE` to another disk",
        errno.EDQUOT: "make room (`quota`), or set `GPUBOX_HOME` and `GPUBOX_CACHE` to another disk",
        errno.EMFILE: "raise the limit of open files: `ulimit -n 4096`",
    }.get(error.errno or 0, "`gpubox doctor` looks at this machine")
    place = str(error.filename) if error.filename else None
    return Failed(f"this machine says: {error.strerror or error}", where=place, hint=hint)


def emit_json(data: object) -> None:
    """Print `data` as JSON on stdout."""
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n")


def emit_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a plain table on stdout, columns as wide as they need (Chinese characters count twice)."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = column_widths(lines)
    for line in lines:
        cells = [cell + " " * (width - screen_width(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def column_widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column has to be, on the screen."""
    return [max(map(screen_width, column)) for column in zip(*lines, strict=True)]


def age(since: datetime) -> str:
    """`3 min`, `5 h`, `2 d`: how long ago."""
    seconds = (datetime.now(UTC) - since).total_seconds()
    return duration(seconds)


def duration(seconds: float | None) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`; a dash for None."""
    if seconds is None:
        return "-"
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def ask_password(target: str) -> Callable[[], str]:
    """Asks for a password at the terminal, or takes one line of stdin where there is no terminal."""

    def ask() -> str:
        if sys.stdin.isatty():
            return str(click.prompt(f"password of {target}", hide_input=True, err=True))
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            raise AuthFailed(
                f"{target} wants a password, and there is no terminal to ask at",
                hint="run it in a terminal, or send the password as one line on stdin",
            )
        return line

    return ask


def ask(question: str, *, yes: bool) -> bool:
    """`question [y/N]` at the terminal; True with `--yes`; False where nobody can answer."""
    if yes:
        return True
    if not sys.stdin.isatty():
        click.echo(f"{question} [y/N] no terminal to ask at; `--yes` says yes", err=True)
        return False
    return click.confirm(question, default=False, err=True)


def screen_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _colour(stream: TextIO) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")
