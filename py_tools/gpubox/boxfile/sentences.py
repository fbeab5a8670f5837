"""What pydantic finds wrong with a box file, as sentences that a person can act on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from gpubox.boxfile import schema
from gpubox.boxfile.models import LONG, SHORT
from gpubox.words import HIDDEN, did_you_mean, is_secret_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from gpubox.boxfile.mistakes import Path as FieldPath
    from gpubox.boxfile.tree import Tree

# What people call these fields elsewhere: in the articles they follow, in other tools, in vLLM's short options.
_OTHER_NAMES = {
    "cpu_info": "cpu_infer",
    "cpuinfer": "cpu_infer",
    "gpus": "gpu",
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "max_model_length": "max_model_len",
    "context_length": "max_model_len",
    "gpu_util": "gpu_memory_utilization",
    "webui": "web_ui",
    "open_webui": "web_ui",
    "index": "index_url",
    "model_id": "id",
    "ports": "tunnels",
}

_TRUE = frozenset({"yes", "on", "y"})
_FALSE = frozenset({"no", "off", "n"})


def path_of(detail: ErrorDetails) -> FieldPath:
    """The field that pydantic found wrong."""
    return tuple(part for part in detail["loc"] if part not in (SHORT, LONG, "[key]"))


def sentence(detail: ErrorDetails, read: Tree) -> str:
    """What was given, what is wanted, and what was probably meant."""
    path = path_of(detail)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        wanted = schema.wanted(path)
        return f"missing; wanted: {schema.description(path) if wanted == 'text' else wanted}"
    if detail["loc"][-1] == "[key]":
        return f'given "{path[-1]}"; wanted {_key_wanted(path[:-1])}'
    given = HIDDEN if _is_secret(path) else _given(detail["input"], path, read)
    sentence = f"given {given}; wanted {schema.wanted(path)}"
    return sentence + (_suggestion(detail["input"], path, read) if given != HIDDEN else "")


def _unknown(path: FieldPath) -> str:
    section, name = path[:-1], str(path[-1])
    here = schema.field_names(section)
    if near := _known_as(name, here):
        return f'unknown field; did you mean "{near}"?'
    for other in sorted(schema.field_names(())):
        inner = schema.field_names((other,))
        if (other,) != section and (near := next((word for word in inner if _same(word, name)), None)):
            return f'unknown field here; did you mean "{other}.{near}"?'
    top = next((word for word in schema.field_names(()) if section and _same(word, name)), None)
    if top:
        return f'unknown field here; did you mean "{top}" at the left margin?'
    return f"unknown field; known here: {', '.join(here)}"


def meant(detail: ErrorDetails) -> FieldPath | None:
    """The field that an unknown one was probably meant to be: nothing is concluded from its being left out."""
    if detail["type"] != "extra_forbidden":
        return None
    path = path_of(detail)
    near = _known_as(str(path[-1]), schema.field_names(path[:-1]))
    return (*path[:-1], near) if near else None


def _known_as(name: str, fields: list[str]) -> str | None:
    other = _OTHER_NAMES.get(name.lower().replace("-", "_"))
    return other if other in fields else did_you_mean(name, fields)


def _same(word: str, name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return word == _OTHER_NAMES.get(plain, plain)


def _given(value: object, path: FieldPath, read: Tree) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, int | float):
        note = "" if schema.kinds(path) & {"integer", "number"} else " (a number)"
        return f"{read.raw.get(path, value)}{note}"
    return f'"{value}"'


def _suggestion(value: object, path: FieldPath, read: Tree) -> str:
    """`; did you mean ...?` where that can be guessed, else nothing."""
    if isinstance(value, str):
        meant = _meant_by_text(value, path)
    else:
        raw = read.raw.get(path, "")
        meant = f'"{raw}", in quotes' if raw and not schema.choices(path) and schema.fits(path, raw) else None
    return f"; did you mean {meant}?" if meant else ""


def _meant_by_text(value: str, path: FieldPath) -> str | None:
    kinds = schema.kinds(path)
    if "boolean" in kinds and value.lower() in _TRUE | _FALSE:
        return "true" if value.lower() in _TRUE else "false"
    if kinds & {"integer", "number"} and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?", value.strip()):
        return f"{value.strip()}, without quotes"
    if "integer" in kinds and (thousands := re.fullmatch(r"([0-9]+)[kK]", value)):
        return str(int(thousands[1]) * 1024)
    if kinds == {"array"}:
        return json.dumps(value.split() if path[-1] == "extra_args" else [value], ensure_ascii=False)
    near = did_you_mean(value, schema.choices(path))
    return f'"{near}"' if near else None


def _key_wanted(path: FieldPath) -> str:
    return "the name of an environment variable: letters, digits and _" if path[-1:] == ("env",) else "another name"


def _is_secret(path: FieldPath) -> bool:
    return any(isinstance(part, str) and is_secret_name(part) for part in path)
