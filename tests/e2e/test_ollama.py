"""`engine: ollama` from an empty box to an answer, with a simulated Ollama: whatever is around it is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cli import wait_for
from e2e.conftest import adopt
from e2e.test_plain_ansible import ansible, counts
from free_ports import free_port
from sim import ollama
from sim.hub import hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

SIM, ROOT, VERSION = "/root/sim", "/root/autodl-tmp/gpubox", "9.9.9"
PLAN = f"{SIM}/plan.json"
BOX = """
provider: attach
engine: ollama
model: {source: path, path: /root/own/R1-Q4_K_M.gguf}
ollama:
  models: [MODELS]
  version: VERSION
  download_url: http://127.0.0.1:18180
  parameters: {num_ctx: 4096}
  env: {OLLAMA_SIM: /root/sim/plan.json, OLLAMA_KEEP_ALIVE: 30m}
"""
SLOW = {"models": {"tiny:1": [300_000, 500], "second:1": [6_000_000]}, "part": 1_000_000, "rate": 1_000_000}


def box_file(*models: str) -> str:
    return BOX.replace("MODELS", ", ".join(f'"{name}"' for name in models)).replace("VERSION", f'"{VERSION}"')


def supplied(box: TestBox, tmp_path: Path) -> None:
    """Put releases, a plan and a GGUF on the box, and serve the releases there."""
    place = ollama.release(tmp_path / "releases", VERSION)
    for file in place.iterdir():
        box.exec(
            f"mkdir -p {SIM}/releases/v{VERSION}; cat > {SIM}/releases/v{VERSION}/{file.name}", stdin=file.read_bytes()
        )
    box.write(f"{SIM}/releases.py", (Path(ollama.__file__).parent / "releases.py").read_text())
    box.write(PLAN, json.dumps(SLOW))
    box.write("/root/own/R1-Q4_K_M.gguf", "GGUF and so on")
    box.exec(f"setsid python3 {SIM}/releases.py 18180 {SIM}/releases </dev/null >/dev/null 2>&1 &")


# Four converges and three plays over SSH: a minute on quiet cores, five on busy ones.
@pytest.mark.timeout(1500)
def test_from_an_empty_box_to_an_answer(
    gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path
) -> None:
    box = adopt(gpubox, boxes(**offline("controller", "zstandard==0.25.0")))
    supplied(box, tmp_path)
    gpubox.box_file("mybox", box_file("tiny:1"))

    ansible(gpubox, *playbook("up"), "--check", "--diff")
    assert box.exec("ls -A /root/autodl-tmp").stdout == ""
    gpubox("up", "mybox")
    assert "Hello there" in gpubox("chat", "mybox", "hello").stdout
    answer = gpubox.json("chat", "mybox", "hello")
    assert (answer["model"], answer["usage"]["total_tokens"]) == ("r1-q4_k_m:latest", 5)
    (service,) = [item for item in gpubox.json("status", "mybox")["services"] if item["name"] == "ollama"]
    assert (service["state"], service["healthy"], service["port"]) == ("running", True, 11434)
    bench = gpubox.json("bench", "mybox", "--concurrency", "1,2", "--requests", "4")
    assert [(level["failed"], level["output_tokens"]) for level in bench["levels"]] == [(0, 8), (0, 8)]
    # Its key pair, its models and the release lie on the data disk; nothing in the login's home.
    assert box.exec("ls -A /root/.ollama").exit_code != 0
    assert box.exec(f"ls {ROOT}/ollama").stdout.split() == [VERSION, "downloads", "home", "models"]
    # What Ollama pulled can be pulled again: nobody wants to have it brought home.
    listed = json.loads(box.exec(f"{ROOT}/bin/boxctl manifest --list").stdout)["files"]
    assert not [item for item in listed if f"{ROOT}/ollama/" in item["absolute"]]
    # A GGUF on another disk is copied, and the release's archive does not stay.
    assert box.exec(f"ls {ROOT}/ollama/downloads").stdout == ""

    assert gpubox.json("up", "mybox")["changed"] is False
    again = counts(ansible(gpubox, *playbook("up")), "mybox")
    assert (again["changed"], again["failed"]) == (0, 0)
    ansible(gpubox, *playbook("verify"))

    killed_while_pulling(gpubox, box)

    ansible(gpubox, *playbook("remove"))
    assert box.exec(f"ls {ROOT}/ollama {ROOT}/envs/ollama {ROOT}/lib/ollama").exit_code != 0
    assert not [line for line in box.processes() if "bin/ollama" in line]


HUB_BOX = """
provider: attach
engine: ollama
model: {source: modelscope, id: me/tiny-GGUF, quant: Q4_K_M}
ollama: {version: VERSION, port: PORT, env: {OLLAMA_SIM: /root/sim/plan.json}}
"""


@pytest.mark.timeout(900)
def test_a_gguf_from_a_hub(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes]) -> None:
    """A job fetches it, another gives it to Ollama, it answers; another quantization takes its place."""
    box = adopt(gpubox, boxes(**offline("controller", "zstandard==0.25.0") | {"network": "host"}))
    program = (Path(ollama.__file__).parent / "program.py").read_text()
    box.write(f"{ROOT}/ollama/{VERSION}/bin/ollama", program, mode=0o755)
    box.write(PLAN, json.dumps({"models": {}}))
    # The hub is on this machine, and so the box shares its ports.
    text = HUB_BOX.replace("VERSION", f'"{VERSION}"').replace("PORT", str(free_port()))
    gpubox.box_file("mybox", text)
    files = {f"tiny-{quant}.gguf": f"GGUF {quant}".encode() for quant in ("Q4_K_M", "Q8_0")}
    with hub({"me/tiny-GGUF": files}) as server:
        gpubox.env.update(server.environment)
        gpubox("up", "mybox")
        assert gpubox.json("chat", "mybox", "hello")["model"] == "tiny-gguf:latest"
        assert "GGUF Q4_K_M" in box.exec(f"cat {ROOT}/ollama/models/blobs/*").stdout
        gpubox.box_file("mybox", text.replace("Q4_K_M", "Q8_0"))
        gpubox("up", "mybox")
        assert "GGUF Q8_0" in box.exec(f"cat {ROOT}/ollama/models/blobs/*").stdout
        assert gpubox.json("chat", "mybox", "hello")["model"] == "tiny-gguf:latest"


def killed_while_pulling(gpubox: Gpubox, box: TestBox) -> None:
    """A second model is asked for; the job is killed in the middle, and `up` goes on from there."""
    gpubox.box_file("mybox", box_file("tiny:1", "second:1"))
    client = gpubox.start("up", "mybox")
    wait_for("a part of the second model", lambda: box.exec(f"ls {ROOT}/ollama/models/blobs/*-partial").exit_code == 0)
    wait_for("some of its bytes", lambda: int(box.exec(f"stat -c %s {PLAN}.sent").stdout) > 2000)
    (pid,) = box.exec(f"pgrep -f '^{ROOT}/envs/ollama/bin/python .*fetch$'").stdout.split()
    box.exec(f"kill -KILL {pid}")
    assert client.wait(300) == 1
    assert "job `ollama-models`" in gpubox.stderr_of("up", "mybox")
    # The service goes on with what it has, and the job's own server is gone with the job.
    wait_for("one server", lambda: len([line for line in box.processes() if "bin/ollama serve" in line]) == 1)
    gpubox("up", "mybox")
    names = json.loads(box.exec("curl -s http://127.0.0.1:11434/v1/models").stdout)["data"]
    assert [item["id"] for item in names] == ["r1-q4_k_m:latest", "second:1", "tiny:1"]


def playbook(name: str) -> tuple[str, ...]:
    return ("-i", "inventories/gpubox.yml", f"playbooks/{name}.yml", "--limit", "mybox")
