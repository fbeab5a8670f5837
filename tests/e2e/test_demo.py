"""`gpubox demo` in an empty HOME: the main job for real, and nothing left behind."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cli import Gpubox

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="vLLM has a CPU build for x86-64 Linux only"
)


@pytest.mark.timeout(1800)
def test_demo_twice(gpubox: Gpubox, tmp_path: Path) -> None:
    first = gpubox("demo")
    assert "> 你是谁？\n我叫小箱" in first.stdout
    assert "receipt: demo (local" in first.stdout
    assert "every SHA-256 verified" in first.stdout
    assert "left running  0" in first.stdout
    assert "released      yes" in first.stdout

    results = tmp_path / "gpubox-results"
    assert list(results.rglob("model.safetensors"))
    assert list(results.rglob("*.png"))
    receipt = json.loads(next(results.rglob("receipt.json")).read_text())
    assert receipt["processes_left"] == 0

    assert gpubox.json("ls") == []
    assert _living_in(gpubox.home) == []
    # Only the ledger, keys and caches stay; the box, its environments and its disk are gone.
    boxes = (gpubox.home / ".local/share/gpubox/local-boxes").iterdir()
    assert [path.name for path in boxes if path.name != ".locks"] == []

    second = gpubox("demo")
    assert "> 你是谁？\n我叫小箱" in second.stdout
    assert "epoch" in first.stderr
    assert "epoch" not in second.stderr, "the model was trained again"


def _living_in(home: Path) -> list[str]:
    """Command lines of everything whose HOME is this one, or a box's below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME", "").startswith(str(home)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    # The one that ends what a killed test leaves behind.
    return [command for command in found if "cleaner.py" not in command]
