"""A model from a hub, served: planned, fetched beside the environment, verified, and nothing to do the next time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sim.hub import HubFaults, hub, repo
from sim.tiny_model import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

BOX_FILE = """
provider: attach
engine: vllm
model: {source: modelscope, id: acme/tiny}
vllm: {build: cpu, port: 8765, max_model_len: 512, enforce_eager: true, cpu_kvcache_space: 1}
"""
MODEL = "/root/autodl-tmp/gpubox/models/tiny"


@pytest.mark.timeout(1500)
def test_a_model_of_a_hub_is_served(
    gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path
) -> None:
    wishes = offline("controller", "vllm")
    # With this machine's network, since that is where the hub is.
    wishes["network"] = "host"
    box = boxes(**wishes)
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    model = repo(tiny_model(tmp_path / "tiny"))
    with hub({"acme/tiny": model}, HubFaults().cut(200_000)) as server:
        gpubox.env.update(server.environment)

        gpubox.box_file("mybox", BOX_FILE.replace("acme/tiny", "acme/tinny"))
        wrong = gpubox("up", "mybox", code=1)
        assert "acme/tinny" in wrong.stderr
        assert not box.exec("ls /root/autodl-tmp/gpubox/envs").stdout.strip(), "an hour of work before a typing mistake"

        gpubox.box_file("mybox", BOX_FILE)
        up = gpubox.json("up", "mybox")
        assert up["changed"] is True
        assert {job["name"]: job["state"] for job in up["jobs"]}["model-tiny"] == "done"
        assert up["chain"]["seconds"] > 0
        assert box.exec(f"cat {MODEL}/.gpubox-model.json").exit_code == 0

        asked = json.loads(gpubox("chat", "mybox", "你好", "--json").stdout)
        assert asked["answer"]

        before = server.counters.sent()
        again = gpubox.json("up", "mybox")
        assert again["changed"] is False
        assert server.counters.sent() == before
    gpubox("down", "mybox", "--yes")
