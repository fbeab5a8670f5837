"""The web UI's variables that no fixture can have: the name of what is served, and secrets of this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gpubox import web_ui_secrets
from gpubox.boxfile import BoxFile
from gpubox.converge.variables import role_variables
from gpubox.errors import UsageError
from gpubox.ledger import BoxRecord
from gpubox.web_ui_secrets import Secrets

GGUF = {"source": "path", "path": "/models/Qwen.GGUF"}
WEB_UI = {"web_ui": True, "agents": [{"name": "a"}]}


def variables(name: str | None = None, **fields: object) -> dict[str, Any]:
    """Of a box file with a web UI and an agent that names no model."""
    at = datetime.now(UTC)
    record = BoxRecord(name=name, provider="attach", state="running", created_at=at, updated_at=at) if name else None
    box = BoxFile.model_validate({"provider": "attach", **WEB_UI, **fields})
    return role_variables(box, root="/r", data_dir="/d", facts=None, record=record, environ={})


@pytest.mark.parametrize(
    ("fields", "served"),
    [
        ({"engine": "vllm", "model": "small-gpt"}, "small-gpt"),
        ({"engine": "vllm", "model": {"source": "modelscope", "id": "Qwen/Qwen3-8B"}}, "Qwen3-8B"),
        ({"engine": "vllm", "model": GGUF, "vllm": {"served_model_name": "mine"}}, "mine"),
        ({"engine": "ollama", "ollama": {"models": ["deepseek-r1:8b", "qwen3"]}}, "deepseek-r1:8b"),
        ({"engine": "ollama", "model": GGUF}, "qwen:latest"),
        ({"engine": "ollama", "ollama": {"models": ["hub.example:5000/a/b"]}}, "hub.example:5000/a/b:latest"),
        (
            {"engine": "ktransformers", "model": GGUF, "ktransformers": {"model_path": "deepseek-ai/DeepSeek-R1"}},
            "DeepSeek-R1",
        ),
    ],
)
def test_an_agent_without_a_model_gets_the_one_that_the_engine_lists(fields: dict[str, object], served: str) -> None:
    (agent,) = variables(None, **fields)["open_webui_agents"]
    assert agent["base_model"] == served


def test_secrets_are_those_of_the_box_by_that_name() -> None:
    web_ui_secrets.replace("mybox", Secrets("hunter2", "key"))
    engine = {"engine": "vllm", "model": "small-gpt"}
    found = variables("mybox", **engine)
    assert (found["open_webui_admin_password"], found["open_webui_secret_key"]) == ("hunter2", "key")
    for name in ("other", None):
        assert not {key for key in variables(name, **engine) if key.endswith(("_password", "_secret_key"))}


def test_on_this_machine_the_box_hears_nothing_of_it() -> None:
    web_ui_secrets.replace("mybox", Secrets("hunter2", "key"))
    found = variables("mybox", engine="vllm", model="small-gpt", web_ui={"on": "laptop"})
    assert not [key for key in found if key.startswith("open_webui") or key == "gpubox_web_ui"]


def test_a_key_of_a_further_engine_that_is_not_set_is_named() -> None:
    ui = {"engines": [{"url": "https://api.example.com/v1", "api_key": "OTHER_KEY"}]}
    with pytest.raises(UsageError, match="`OTHER_KEY`"):
        variables(web_ui=ui, agents=[])
