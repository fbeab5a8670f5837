"""Reading a box file: everything that is wrong with it at once, each with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from gpubox.boxfile import rules, schema, tree
from gpubox.boxfile.mistakes import box_file_error, dotted
from gpubox.boxfile.models import BoxFile
from gpubox.boxfile.sentences import meant, path_of, sentence
from gpubox.errors import BoxFileError
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from gpubox.boxfile.mistakes import Mistake
    from gpubox.boxfile.mistakes import Path as FieldPath
    from gpubox.boxfile.problem import Problem


def load(path: Path) -> BoxFile:
    """The box file at `path`, checked whole. Raises `BoxFileError` that lists every mistake as FILE:LINE: FIELD: ..."""
    shown = _shown(path)
    text = _text(path, shown)
    read = tree.read(text)
    mistakes = list(read.mistakes)
    if read.data is None:
        raise box_file_error(shown, mistakes)
    box, more = _checked(read)
    mistakes += more
    if box is None or mistakes:
        raise box_file_error(shown, mistakes)
    return box


def _checked(read: tree.Tree) -> tuple[BoxFile | None, list[Mistake]]:
    """The box, as far as it can be made, and all mistakes: those of single fields and those between fields."""
    data = _without_blanks(read.data, ())
    box, details = _validated(data)
    broken = {mistake.path for mistake in read.mistakes}
    wrong = [detail for detail in details if dotted(path_of(detail)) not in broken]
    mistakes = [read.mistake(path_of(detail), sentence(detail, read)) for detail in wrong]
    doubtful = broken | {mistake.path for mistake in mistakes}
    doubtful |= {dotted(path) for detail in details if (path := meant(detail)) is not None}
    for _ in range(8):  # Without a wrong field its section may lack one, and so on up; sections are not that deep.
        if box is not None:
            found = [problem for problem in rules.check(box) if not _depends(problem, doubtful)]
            return box, mistakes + [read.mistake(problem.path, problem.message) for problem in found]
        data = _without(data, [path_of(detail) for detail in details])
        box, details = _validated(data)
    return None, mistakes


def _validated(data: object) -> tuple[BoxFile | None, list[ErrorDetails]]:
    try:
        return BoxFile.model_validate_json(json.dumps(data), strict=True), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_context=False)


def _depends(found: Problem, doubtful: set[str]) -> bool:
    """Whether the problem may come from a field that is itself wrong, and so may not be there."""
    around = any(_within(one, other) for one in (dotted(found.path), *found.reads) for other in doubtful)
    return around or any(_within(other, one) for one in found.reads for other in doubtful)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def _without(data: object, paths: list[FieldPath]) -> object:
    """`data` without the fields at `paths`; a missing field takes its section along, a missing provider is made up."""
    if ("provider",) in paths and isinstance(data, dict):
        data = {**data, "provider": "attach"}
    for path in paths:
        if path != ("provider",):
            data = _dropped(data, path)
    return data


def _dropped(data: object, path: FieldPath) -> object:
    head, rest = path[0], path[1:]
    if not isinstance(data, dict) or head not in data:
        return data
    inner = data[head]
    if not rest or not isinstance(inner, dict) or (len(rest) == 1 and rest[0] not in inner):
        return {key: value for key, value in data.items() if key != head}
    return {**data, head: _dropped(inner, rest)}


def _without_blanks(data: object, path: FieldPath) -> object:
    """`data` without the fields that have nothing after their colon: they are as if left out. Unknown ones stay."""
    if not isinstance(data, dict):
        return data
    kept = {key: value for key, value in data.items() if value is not None or schema.node_at((*path, key)) is None}
    return {key: _without_blanks(value, (*path, key)) for key, value in kept.items()}


def _text(path: Path, shown: str) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path, shown) from None
    except IsADirectoryError:
        raise BoxFileError("a box file is wanted, this is a directory", where=shown, hint="name a file in it") from None
    except OSError as error:
        raise BoxFileError(f"the box file cannot be read: {error.strerror}", where=shown) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BoxFileError(
            f"the box file is not UTF-8 (byte 0x{raw[error.start]:02x} on line {line})",
            where=f"{shown}:{line}",
            hint=f"save it as UTF-8; from GBK: `iconv -f GBK -t UTF-8 {shown}`",
        ) from None


def _missing(path: Path, shown: str) -> BoxFileError:
    others = sorted(other.stem for other in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    near = did_you_mean(path.stem, others)
    meant = f"; did you mean `{near}`?" if near else f"; there are: {', '.join(others)}" if others else ""
    return BoxFileError(f"there is no box file `{shown}`{meant}", where=shown, hint=f"gpubox init {path.stem}")


def _shown(path: Path) -> str:
    """The path as a person would type it from here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
