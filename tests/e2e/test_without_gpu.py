"""A starter file for a 4090 on a box whose driver and card are recorded: what needs no GPU is done, the rest refused.

Stand-ins: the wheels of vLLM and transformers (the real ones are gigabytes of CUDA); the hub is simulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from box import standin_packages
from box.testbox.options import Bind
from e2e.conftest import adopt
from e2e.test_dry_run import NVCC, SMI
from e2e.test_plain_ansible import ansible, counts
from gpubox.boxfile import starter_text
from sim.hub import hub, repo
from sim.server import wait_until
from sim.tiny_model import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

LINKS = "/opt/standins"
MODEL = "/root/autodl-tmp/gpubox/models/Qwen3-8B-AWQ"


@pytest.fixture
def recorded(boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> TestBox:
    """A box that shows one RTX 4090 and a driver of CUDA 12, and has neither."""
    wishes = offline("controller")
    links = tmp_path / "standins"
    links.mkdir()
    for name, version in (("vllm", "0.19.1"), ("transformers", "4.57.6")):
        standin_packages.wheel(links, name, version, {f"{name}/__init__.py": ""})
    pip = wishes["files"]["/etc/pip.conf"].rstrip() + f" {LINKS}\n"
    wishes |= {
        "network": "host",
        "data_size": 64 << 30,
        "binds": (*wishes["binds"], Bind(str(links), LINKS)),
        "files": {"/etc/pip.conf": pip},
    }
    box = boxes(**wishes)
    box.write("/usr/bin/nvidia-smi", SMI, mode=0o755)
    box.write("/usr/local/cuda-12.1/bin/nvcc", NVCC, mode=0o755)
    box.exec("ln -s cuda-12.1 /usr/local/cuda; : >/dev/nvidia0")
    return box


@pytest.mark.timeout(900)
def test_what_needs_no_gpu_is_done_and_the_rest_is_refused_by_name(
    gpubox: Gpubox, recorded: TestBox, tmp_path: Path
) -> None:
    adopt(gpubox, recorded)
    gpubox.box_file("mybox", starter_text("mybox", "4090-vllm"))
    with hub({"Qwen/Qwen3-8B-AWQ": repo(tiny_model(tmp_path / "model"))}) as server:
        gpubox.env.update(server.environment)
        refused = gpubox("up", "mybox", code=1).stderr
        assert "refused: to serve the model with vLLM needs a GPU" in refused
        assert "libcuda.so.1" in refused

        # What had been started goes on, and is whole.
        def jobs() -> dict[str, str]:
            return {job["name"]: job["state"] for job in gpubox.json("status", "mybox")["jobs"]}

        wanted = {"env-vllm": "done", "model-Qwen3-8B-AWQ": "done", "converge": "failed"}
        assert wait_until(lambda: "running" not in jobs().values(), 120)
        assert {name: jobs().get(name) for name in wanted} == wanted
        assert recorded.exec(f"test -s {MODEL}/.gpubox-model.json").exit_code == 0
        assert gpubox.json("status", "mybox")["services"] == []

        # The playbook for a box that was started without its GPU does the same, and is content with it.
        words = ("-i", "inventories/gpubox.yml", "playbooks/prepare.yml", "--limit", "mybox")
        prepared = counts(ansible(gpubox, *words), "mybox")
        assert (prepared["failed"], prepared["changed"]) == (0, 0)
