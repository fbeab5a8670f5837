"""YAML text as plain data, with the line and column of every field.

Words are read as in YAML 1.2: only `true` and `false` are booleans (1.1 makes a boolean of the field name `on`), and
`12:30` or `0777` are no numbers in disguise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from gpubox.boxfile.mistakes import Mistake, Path, dotted

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
# Longer ones are no quantity of anything here; they stay text, and the message shows them as written.
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,2})?")
_FULL_WIDTH = {"：": ":", "，": ",", "“": '"', "”": '"', "‘": "'", "’": "'", "　": "a space", "－": "-"}


@dataclass(slots=True)
class Tree:
    """What a YAML file says. `places` are (line, column) from 1; `raw` is the text of scalars as it was written."""

    data: dict[str, object] | None = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def place(self, path: Path) -> tuple[int, int]:
        """Line and column of the field at `path`, or of the nearest section around it that is in the file."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def mistake(self, path: Path, message: str) -> Mistake:
        """A mistake of the field at `path`."""
        return Mistake(*self.place(path), dotted(path), message)


def read(text: str) -> Tree:
    """Read one YAML document. Mistakes are collected, not raised; a syntax error ends the reading."""
    tree = Tree()
    lines = text.splitlines()
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        tree.mistakes.append(_syntax_mistake(error, lines))
        return tree
    except RecursionError:
        tree.mistakes.append(Mistake(1, 1, "", "sections inside sections without end"))
        return tree
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        tree.mistakes.append(
            Mistake(line, column, "", f"a character that YAML forbids: {_code(error.character)}", True)
        )
        return tree
    if len(nodes) > 1 and nodes[1] is not None:
        mark = nodes[1].start_mark
        message = "a second document begins here (`---`); a box file is one"
        tree.mistakes.append(Mistake(mark.line + 1, mark.column + 1, "", message))
    if not nodes or nodes[0] is None:
        tree.mistakes.append(Mistake(1, 1, "", "the file is empty; a box file needs at least `provider`"))
        return tree
    if not isinstance(nodes[0], yaml.MappingNode):
        tree.mistakes.append(_not_a_mapping(nodes[0], lines))
        return tree
    tree.data = _mapping(nodes[0], (), tree, (nodes[0],))
    return tree


def _value(node: yaml.Node, path: Path, tree: Tree, around: tuple[yaml.Node, ...]) -> object:
    if node in around:
        tree.mistakes.append(tree.mistake(path, "the anchor contains itself"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, tree, (*around, node))
    if isinstance(node, yaml.SequenceNode):
        items: list[object] = []
        for index, item in enumerate(node.value):
            tree.places[(*path, index)] = (item.start_mark.line + 1, item.start_mark.column + 1)
            items.append(_value(item, (*path, index), tree, (*around, node)))
        return items
    if not node.tag.startswith("tag:yaml.org,2002:"):
        tree.mistakes.append(tree.mistake(path, f"the tag `{node.tag}` is not known here"))
    tree.raw[path] = node.value
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: Path, tree: Tree, around: tuple[yaml.Node, ...]) -> dict[str, object]:
    data: dict[str, object] = {}
    for key, value in node.value:
        line, column = key.start_mark.line + 1, key.start_mark.column + 1
        if not isinstance(key, yaml.ScalarNode):
            tree.mistakes.append(Mistake(line, column, dotted(path), "a field's name must be a word"))
            continue
        here = (*path, str(key.value))
        if key.value in data:
            first = tree.place(here)[0]
            message = f"written twice; the first is on line {first}"
            tree.mistakes.append(Mistake(line, column, dotted(here), message))
            continue
        tree.places[here] = (line, column)
        data[key.value] = _value(value, here, tree, around)
    return data


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _syntax_mistake(error: yaml.MarkedYAMLError, lines: list[str]) -> Mistake:
    unclosed = error.problem == "found unexpected end of stream"
    mark = error.context_mark if unclosed else error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    text = lines[line] if line < len(lines) else ""
    message = "a quote that is never closed" if unclosed else f"not YAML: {error.problem or error.context}"
    if "\t" in text[: column + 1]:
        message, column = "a tab; YAML is indented with spaces", text.index("\t")
    elif odd := _full_width(lines[max(0, line - 1) : line + 1]):
        message += f"; {odd}"
    elif "mapping values are not allowed" in message:
        message += "; a text with `: ` in it needs quotes, and fields of one section the same indent"
    excerpt = (f"  | {text.expandtabs(1)}", f"  | {' ' * column}^") if text else ()
    return Mistake(line + 1, column + 1, "", message, True, excerpt)


def _not_a_mapping(node: yaml.Node, lines: list[str]) -> Mistake:
    given = "a list" if isinstance(node, yaml.SequenceNode) else "text"
    line, column = node.start_mark.line, node.start_mark.column
    message = f"{given} where `field: value` lines are wanted, as in `provider: attach`"
    if odd := _full_width(lines[line : line + 1]):
        message += f"; {odd}"
    return Mistake(line + 1, column + 1, "", message)


def _code(character: int | str | bytes) -> str:
    code = character if isinstance(character, int) else ord(character)
    return f"U+{code:04X}"


def _full_width(lines: list[str]) -> str | None:
    """What to write instead of the first full-width character, for people whose input method was left on."""
    for character in "".join(line.split("#")[0] for line in lines):
        if character in _FULL_WIDTH:
            return f"the line has a full-width `{character}`, write {_FULL_WIDTH[character]!r} instead"
    return None
