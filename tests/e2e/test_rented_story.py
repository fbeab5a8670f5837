"""The whole story on a box like a rented one: add, up, kill the client, watch, up again, chat, power cycle, down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cli import wait_for

if TYPE_CHECKING:
    from box.testbox import TestBox
    from e2e.cli import Gpubox

BOX_FILE = """
provider: attach
engine: vllm
model: small-gpt
vllm: {build: cpu, max_model_len: 1024, enforce_eager: true, cpu_kvcache_space: 1}
"""
ANSWER_HAS = "小箱"


@pytest.mark.timeout(1800)
def test_a_rented_box_from_login_line_to_receipt(gpubox: Gpubox, rented: TestBox) -> None:
    gpubox("add", "mybox", rented.ssh_line, "--yes", stdin=f"{rented.password}\n")
    gpubox.box_file("mybox", BOX_FILE)
    gpubox("doctor", "mybox")

    # The laptop dies in the middle of it; the box goes on and is watched to its end.
    client = gpubox.start("up", "mybox")
    wait_for("the converge to begin", lambda: "converge" in gpubox.stderr_of("up", "mybox") and _running(rented))
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    assert _running(rented)
    watched = gpubox("watch", "mybox")
    assert "train-small-gpt" in watched.stderr
    assert "✓ converge" in watched.stderr

    # `up` after that has only to note it, and then nothing at all to do.
    gpubox("up", "mybox")
    again = gpubox.json("up", "mybox")
    assert again["changed"] is False
    assert [item["state"] for item in again["services"]] == ["running"]

    # The whole playbook again, engine and model included, changes nothing.
    assert "changed)" not in gpubox("up", "mybox", "--full").stderr

    asked = json.loads(gpubox("chat", "mybox", "你是谁？", "--json").stdout)
    assert ANSWER_HAS in asked["answer"]
    assert ANSWER_HAS in gpubox("chat", "mybox", stdin="你是谁？\n").stdout
    status = gpubox.json("status", "mybox")
    assert {item["name"]: item["state"] for item in status["jobs"]}["train-small-gpt"] == "done"
    _only_loopback(rented)

    # AutoDL's power cycle: every process gone, the disk kept, another port.
    rented.power_cycle(new_port=True)
    wait_for("the boot hook", lambda: any("supervisord" in line for line in rented.processes()), timeout=60)
    gpubox("add", "mybox", rented.ssh_line)
    gpubox("start", "mybox")
    assert ANSWER_HAS in gpubox("chat", "mybox", "你是谁？").stdout

    trained = rented.exec("sha256sum < /root/autodl-tmp/gpubox/models/small-gpt/model.safetensors").stdout.split()[0]
    receipt = json.loads(gpubox("down", "mybox", "--yes", "--json").stdout)
    assert receipt["verified"] is True
    assert receipt["processes_left"] == 0
    assert receipt["released"] is False
    assert "still_to_do" in receipt
    home = Path(receipt["backup"])
    (model,) = home.rglob("model.safetensors")
    assert subprocess.run(["sha256sum", str(model)], capture_output=True, text=True, check=True).stdout[:64] == trained
    assert list(home.rglob("vllm.log"))
    assert not [line for line in rented.processes() if "supervisord" in line or "vllm" in line or "boxctl" in line]
    assert gpubox.json("ls") == []


def _running(box: TestBox) -> bool:
    return any("ansible-playbook" in line for line in box.processes())


def _only_loopback(box: TestBox) -> None:
    listening = box.exec("ss -Htln").stdout.split("\n")
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening if line.strip()}
    assert addresses <= {"127.0.0.1", "[::1]"}
