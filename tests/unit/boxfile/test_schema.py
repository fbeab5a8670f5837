"""The JSON Schema, and the pages made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from gpubox.boxfile import json_schema, template_names, tree
from gpubox.boxfile.reference import fields_markdown
from gpubox.paths import content

DOCS = Path(__file__).parents[3] / "docs"
TEMPLATES = content() / "templates" / "boxes"


def test_the_committed_schema_is_what_the_models_say() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "gpubox.boxfile"], check=True, capture_output=True, encoding="utf-8", timeout=60
    ).stdout
    committed = (DOCS / "boxfile.schema.json").read_text(encoding="utf-8")
    assert committed == printed, "stale: python -m gpubox.boxfile > docs/boxfile.schema.json"
    assert json.loads(committed)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_committed_field_tables_are_what_the_models_say() -> None:
    page = (DOCS / "boxfile.md").read_text(encoding="utf-8")
    _, found, tables = page.partition("<!-- python -m gpubox.boxfile --fields -->\n\n")
    assert found
    assert tables == fields_markdown(), "stale: put the output of that command below its line in docs/boxfile.md"


def test_the_schema_is_one_and_explains_every_field() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    sections = [schema, *schema["$defs"].values()]
    unexplained = [name for section in sections for name, node in section["properties"].items() if not _explained(node)]
    assert unexplained == []
    assert all(section["additionalProperties"] is False for section in sections)


@pytest.mark.parametrize("name", template_names())
def test_editors_find_nothing_wrong_with_the_starters(name: str) -> None:
    Draft202012Validator(json_schema()).validate(_read(TEMPLATES / f"{name}.yml"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": "atach"},
        {"engine": "vllm"},
        {"provider": "attach", "vllm": {"max_model_length": 1}},
        {"provider": "attach", "vllm": {"port": 70000}},
        {"provider": "attach", "model": "smal-gpt"},
        {"provider": "attach", "vllm": {"api_key": "sk-abc"}},
        {"provider": "attach", "web_ui": "yes"},
    ],
)
def test_editors_find_what_is_wrong(wrong: dict[str, Any]) -> None:
    assert list(Draft202012Validator(json_schema()).iter_errors(wrong))


def _explained(node: dict[str, Any]) -> bool:
    return len(str(node.get("description", ""))) > 10


def _read(path: Path) -> object:
    """As editors do, by YAML 1.2: PyYAML's own loader makes a boolean of the field name `on`."""
    return tree.read(path.read_text(encoding="utf-8")).data
