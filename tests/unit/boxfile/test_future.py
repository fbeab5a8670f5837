"""What this version refuses to begin."""

from __future__ import annotations

import pytest

from gpubox.boxfile import BoxFile, load, not_yet, template_names
from gpubox.paths import content

TODAY = {"provider": "attach", "engine": "vllm", "model": "small-gpt"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"provider": "local"}, {}),
        ({"tunnels": [{"remote": 6006}], "keep": ["results/**"]}, {}),
        ({"model": {"source": "path", "path": "/root/autodl-tmp/model"}}, {}),
        ({"web_ui": False}, {}),
        ({"provider": "autodl"}, {}),
        ({"provider": "compshare", "count": 3}, {"count": "3 boxes"}),
        ({"engine": "ktransformers"}, {}),
        ({"engine": "ollama", "model": None, "ollama": {"models": ["deepseek-r1:8b"]}}, {}),
        ({"model": {"source": "modelscope", "id": "Qwen/Qwen3-8B"}}, {}),
        ({"web_ui": True, "agents": [{"name": "a"}]}, {}),
        ({"web_ui": {"on": "laptop"}}, {}),
        ({"web_ui": {"snapshots": {"every": "15m"}}}, {}),
        ({"finetune": {"recipe": "r.yml"}, "guard": {"ttl": "8h"}}, {"finetune": "the recipe r.yml"}),
    ],
)
def test_each_field_is_named_with_a_way_out(fields: dict[str, object], expected: dict[str, str]) -> None:
    items = not_yet(BoxFile.model_validate({**TODAY, **fields}))
    assert {item.field: item.what for item in items} == expected
    assert all(item.hint for item in items)


def test_the_demo_asks_for_nothing_of_a_later_version() -> None:
    asked = {name: not_yet(load(content() / "templates" / "boxes" / f"{name}.yml")) for name in template_names()}
    assert asked["local-demo"] == []
