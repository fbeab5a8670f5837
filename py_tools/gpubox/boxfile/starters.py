"""Starter box files: what `gpubox init` writes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from gpubox import paths
from gpubox.boxfile.schema import json_schema
from gpubox.errors import Failed, Refused, UnknownTemplate
from gpubox.ledger import check_name
from gpubox.words import did_you_mean

# Named by the first line of every starter file, relative to it, so that editors find it.
_SCHEMA_FILE = Path(".schema") / "boxfile.schema.json"


def template_names() -> list[str]:
    """Names for `gpubox init --template`."""
    return sorted(path.stem for path in _templates().glob("*.yml"))


def write_starter(name: str, template: str, directory: Path) -> Path:
    """Write the starter file `<directory>/<name>.yml` and the schema for editors; returns the file's path.

    Raises `UsageError` for a bad name, `UnknownTemplate`, `Refused` when the file is there already (it is not touched),
    `Failed` when it cannot be written.
    """
    check_name(name)
    text = starter_text(name, template)
    path = directory / f"{name}.yml"
    if path.exists():
        raise Refused(
            f"`{path}` is there already; a starter file does not replace it",
            where=str(path),
            hint=f"edit it, or give another name: gpubox init {name}-2 --template {template}",
        )
    try:
        (directory / _SCHEMA_FILE).parent.mkdir(parents=True, exist_ok=True)
        _replace(directory / _SCHEMA_FILE, schema_text())
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failed(
            f"cannot write `{error.filename}`: {error.strerror}", hint="choose a directory of yours"
        ) from error
    return path


def starter_text(name: str, template: str) -> str:
    """The starter file of the box `name`: its comments call the box by its name. Raises `UnknownTemplate`."""
    return re.sub(r"\bNAME\b", name, _template(template))


def schema_text() -> str:
    """The JSON Schema as it stands in files."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _templates() -> Path:
    return paths.content() / "templates" / "boxes"


def _template(name: str) -> str:
    names = template_names()
    if name not in names:
        near = did_you_mean(name, names)
        meant = f"; did you mean `{near}`?" if near else ""
        raise UnknownTemplate(f"no starter file `{name}`{meant}", hint=f"there are: {', '.join(names)}")
    return (_templates() / f"{name}.yml").read_text(encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Write through a temporary file: an editor that reads the schema now sees the old or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
