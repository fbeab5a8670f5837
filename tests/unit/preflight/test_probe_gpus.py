"""What the probe finds out about GPUs, with fakes of nvidia-smi."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .fakes import FakeBox

GIB = 2**30
SMI_HEADER = "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |"


def smi(cards: int, *, knows_compute_cap: bool = True) -> str:
    """A fake nvidia-smi for so many 4090s."""
    said = 'Field \\"compute_cap\\" is not a valid field to query.'
    refuse = "" if knows_compute_cap else f'case "$*" in *compute_cap*) echo "{said}"; exit 2;; esac\n'
    last = ', 8.9"' if knows_compute_cap else '"'
    rows = "\n".join(
        f'echo "{n}, NVIDIA GeForce RTX 4090, 24564, 24210, 550.54.15, 4, GPU-{n}{last}' for n in range(cards)
    )
    return f'{refuse}case "$*" in *--query-gpu*)\n{rows}\n;;\n*) echo "{SMI_HEADER}" ;; esac'


def test_four_gpus(fake_box: FakeBox) -> None:
    fake_box.program("nvidia-smi", smi(4))
    for number in range(4):
        fake_box.write(f"dev/nvidia{number}", "")
    facts = fake_box.facts()
    assert facts.gpu.nvidia_smi == "ok"
    assert len(facts.gpus) == facts.gpu.device_nodes == 4
    card = facts.gpus[3]
    assert (card.index, card.name, card.compute_cap, card.pcie_gen, card.uuid) == (
        3,
        "NVIDIA GeForce RTX 4090",
        "8.9",
        4,
        "GPU-3",
    )
    assert card.memory_total == 24564 * 2**20
    assert facts.gpu.driver == "550.54.15"
    assert facts.gpu.driver_cuda == "12.4"


def test_a_driver_that_does_not_know_compute_cap(fake_box: FakeBox) -> None:
    fake_box.program("nvidia-smi", smi(2, knows_compute_cap=False))
    facts = fake_box.facts()
    assert [card.compute_cap for card in facts.gpus] == [None, None]
    assert facts.gpu.nvidia_smi_says is None


def test_placeholder_of_a_box_without_gpu(fake_box: FakeBox) -> None:
    (fake_box.bin / "nvidia-smi").touch(mode=0o755)
    assert fake_box.facts().gpu.nvidia_smi == "placeholder"


def test_placeholder_that_is_not_executable(fake_box: FakeBox) -> None:
    fake_box.write("usr/bin/nvidia-smi", "").chmod(0o644)
    assert fake_box.facts().gpu.nvidia_smi == "placeholder"


def test_failing_nvidia_smi(fake_box: FakeBox) -> None:
    fake_box.program(
        "nvidia-smi", 'echo "NVIDIA-SMI has failed because it couldn\'t talk to \\"the\\" driver."; exit 9'
    )
    facts = fake_box.facts()
    assert facts.gpu.nvidia_smi == "failed"
    assert facts.gpu.nvidia_smi_says == 'NVIDIA-SMI has failed because it couldn\'t talk to "the" driver.'


@pytest.mark.parametrize("with_timeout", [True, False])
def test_hanging_nvidia_smi(fake_box: FakeBox, with_timeout: bool) -> None:
    if not with_timeout:
        (fake_box.bin / "timeout").unlink()
    fake_box.program("nvidia-smi", "exec sleep 300")
    fake_box.env["GPUBOX_PROBE_WAIT"] = "1"
    began = time.monotonic()
    facts = fake_box.facts()
    assert facts.gpu.nvidia_smi == "hung"
    assert time.monotonic() - began < 60
