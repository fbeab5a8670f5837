"""The JSON Schema of the box file, for editors, and its words for messages."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from gpubox.boxfile.models import BoxFile

if TYPE_CHECKING:
    from gpubox.boxfile.mistakes import Path

Schema = dict[str, Any]


@cache
def _schema() -> Schema:
    schema = _tidy(BoxFile.model_json_schema(mode="validation"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "gpubox box file",
    }


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a box file, with the description of every field."""
    return dict(_schema())


def node_at(path: Path) -> Schema | None:
    """The part of the schema that describes the field at `path`; None where there is no such field."""
    node: Schema | None = _schema()
    for part in path:
        node = _child(node, part)
        if node is None:
            return None
    return node


def alternatives(node: Schema) -> list[Schema]:
    """The forms that a value may take, references resolved, without null."""
    if "$ref" in node:
        return alternatives(_schema()["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]])
    for word in ("anyOf", "oneOf"):
        if word in node:
            return [form for option in node[word] for form in alternatives(option)]
    return [] if node.get("type") == "null" else [node]


def field_names(path: Path) -> list[str]:
    """Names of the fields of the section at `path`; none where anything else is wanted."""
    node = node_at(path)
    return [name for form in alternatives(node or {}) for name in form.get("properties", {})]


def choices(path: Path) -> list[str]:
    """The words that the field at `path` may hold; none where it is free."""
    return [str(word) for form in alternatives(node_at(path) or {}) for word in _words(form)]


def kinds(path: Path) -> set[str]:
    """JSON types that the field at `path` takes: integer, number, string, boolean, array, object."""
    return {str(form.get("type")) for form in alternatives(node_at(path) or {})}


def fits(path: Path, text: str) -> bool:
    """Whether the field at `path` would take `text`, as far as patterns tell."""
    forms = alternatives(node_at(path) or {})
    return any(form.get("type") == "string" and re.search(form.get("pattern", ""), text) for form in forms)


def description(path: Path) -> str:
    """What the field at `path` means."""
    return str((node_at(path) or {}).get("description", ""))


def wanted(path: Path) -> str:
    """What the field at `path` takes, in words: `a whole number from 1 to 65535`."""
    forms = [_wanted(form) for form in alternatives(node_at(path) or {})]
    return " or ".join(dict.fromkeys(forms)) or "nothing"


def _child(node: Schema | None, part: str | int) -> Schema | None:
    for form in alternatives(node or {}):
        if isinstance(part, int) and "items" in form:
            return dict(form["items"])
        if isinstance(part, str) and part in form.get("properties", {}):
            return dict(form["properties"][part])
        for pattern_value in form.get("patternProperties", {}).values():
            return dict(pattern_value)
    return None


def _wanted(form: Schema) -> str:
    if words := _words(form):
        return " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
    if "patternErrorMessage" in form:
        return str(form["patternErrorMessage"])
    kind = form.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(form)
    if kind == "array":
        item = " or ".join(dict.fromkeys(_wanted(item) for item in alternatives(form.get("items", {}))))
        least = "a list with at least one item" if form.get("minItems") else "a list"
        return f"{least} (each item: {item})"
    if kind == "object":
        names = list(form.get("properties", {}))
        return f"a section with the fields {', '.join(names)}" if names else "a section of `NAME: value` lines"
    return "true or false" if kind == "boolean" else "text"


def _words(form: Schema) -> list[str]:
    return [str(word) for word in form.get("enum", [form["const"]] if "const" in form else [])]


def _range(form: Schema) -> str:
    low, high = form.get("minimum"), form.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if "exclusiveMinimum" in form:
        return f" above {form['exclusiveMinimum']:g}" + (f" and up to {high:g}" if high is not None else "")
    return f" from {low} on" if low is not None else ""


def _tidy(node: Schema) -> Schema:
    """Without pydantic's generated titles and `default: null`, which say nothing."""
    return {key: _tidied(item) for key, item in node.items() if not _says_nothing(key, item)}


def _tidied(value: object) -> object:
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    return _tidy(value) if isinstance(value, dict) else value


def _says_nothing(key: str, item: object) -> bool:
    return (key == "title" and isinstance(item, str)) or (key == "default" and item is None)
