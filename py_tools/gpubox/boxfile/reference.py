"""The field tables of docs/boxfile.md, made from the schema."""

from __future__ import annotations

from gpubox.boxfile import schema

_HEAD = ("| field | takes | default | meaning |", "|---|---|---|---|")


def fields_markdown() -> str:
    """One Markdown table for the top of a box file, and one for each section."""
    top = schema.json_schema()["properties"]
    parts = ["### At the left margin\n", _table((), list(top))]
    for name in top:
        if inner := schema.field_names(_inside(name)):
            parts += [f"### `{name}`\n", _table(_inside(name), inner)]
    return "\n".join(parts).rstrip() + "\n"


def _inside(name: str) -> tuple[str | int, ...]:
    """Path of the fields of a section, or of the sections that a list holds."""
    return (name,) if schema.field_names((name,)) else (name, 0)


def _table(section: tuple[str | int, ...], names: list[str]) -> str:
    return "\n".join([*_HEAD, *(_row(section, name) for name in names)]) + "\n"


def _row(section: tuple[str | int, ...], name: str) -> str:
    path = (*section, name)
    node = schema.node_at(path) or {}
    takes = "a section" if _is_section(path) else schema.wanted(path)
    cells = (f"`{name}`", takes, _default(node, section, name), schema.description(path))
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _is_section(path: tuple[str | int, ...]) -> bool:
    forms = schema.alternatives(schema.node_at(path) or {})
    return len(forms) == 1 and bool(forms[0].get("properties"))


def _default(node: schema.Schema, section: tuple[str | int, ...], name: str) -> str:
    forms = schema.alternatives(schema.node_at(section) or {}) if section else [schema.json_schema()]
    if any(name in form.get("required", []) for form in forms):
        return "required"
    default = node.get("default")
    if default is None or default in ([], {}) or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
