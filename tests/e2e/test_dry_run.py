"""`up --dry-run` and `doctor` on a box with a recorded driver and card: the decision, and nothing that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from box.testbox import BoxFactory, TestBox
    from e2e.cli import Gpubox

# What a box of AutoDL with one RTX 4090 printed, for the questions that the probe asks.
SMI = """#!/bin/sh
case "$*" in
    *--query-gpu*) echo "0, NVIDIA GeForce RTX 4090, 24564, 24209, 550.90.07, 4, GPU-6f1c2a7e, 8.9" ;;
    *) echo "| NVIDIA-SMI 550.90.07    Driver Version: 550.90.07    CUDA Version: 12.4     |" ;;
esac
"""
NVCC = """#!/bin/sh
echo "Cuda compilation tools, release 12.1, V12.1.105"
"""
VLLM = """provider: attach
gpu: {name: RTX 4090}
engine: vllm
model: {source: path, path: /root/autodl-tmp/models/Qwen3-8B}
"""


@pytest.fixture
def rented(boxes: BoxFactory) -> TestBox:
    """A box with a card, a driver of CUDA 12 and the articles' nvcc, all recorded, and a data disk for it."""
    box = boxes(data_size=48 << 30)
    box.write("/usr/bin/nvidia-smi", SMI, mode=0o755)
    box.write("/usr/local/cuda-12.1/bin/nvcc", NVCC, mode=0o755)
    box.exec("ln -s cuda-12.1 /usr/local/cuda; : >/dev/nvidia0")
    return box


def traces(gpubox: Gpubox, box: TestBox) -> tuple[object, ...]:
    """What a converge, or a note of one, would change: the ledger's record, and the places that are written to."""
    record = gpubox.json("ls", "--json")[0]
    kept = {name: record[name] for name in ("state", "digest", "root", "updated_at")}
    return kept, box.exec("find /root /tmp -newer /usr/local/cuda-12.1/bin/nvcc -type f | sort").stdout


def test_a_decision_with_its_reasons_and_nothing_changes(gpubox: Gpubox, rented: TestBox) -> None:
    gpubox("add", "mybox", rented.ssh_line, "--yes", stdin=f"{rented.password}\n")
    gpubox.box_file("mybox", VLLM)
    before = traces(gpubox, rented)

    shown = gpubox("up", "mybox", "--dry-run").stdout
    assert "vLLM          0.19.1 (CUDA 12.8)" in shown
    assert "driver 550.90.07 is too old for CUDA 13 (580)" in shown
    assert "transformers<5" in shown
    assert "environment of vLLM" in shown
    assert "GiB on the data disk of 4" in shown
    assert "nothing was changed, nothing was rented" in shown

    found = gpubox.json("up", "mybox", "--dry-run", "--json")
    assert found["state"] == "running"
    assert found["plan"]["environments"][0]["requirements"] == ["vllm==0.19.1", "transformers<5"]
    assert found["seconds"] > 60
    assert found["disk_bytes"] < found["disk_free"]

    assert traces(gpubox, rented) == before

    doctor = gpubox("doctor", "mybox").stdout
    assert "✓ driver" in doctor or "! driver" in doctor
    assert "vLLM          0.19.1 (CUDA 12.8)" in doctor
    assert "on the data disk to make it, models left out" in doctor

    gpubox.box_file("mybox", VLLM + 'vllm: {version: "0.30.0"}\nflash_attn: {build: source}\n')
    refused = gpubox("up", "mybox", "--dry-run", code=1).stdout
    assert "✗ driver: driver 550.90.07 is too old: vLLM 0.30.0 is built with CUDA 13" in refused
    assert "nothing would be done: the blockers come first" in refused
