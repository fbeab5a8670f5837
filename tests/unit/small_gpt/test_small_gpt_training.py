"""The real trainer, where torch is installed: too little training fails and leaves nothing, and so does a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from unit.small_gpt.conftest import FILES

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="torch is not in this environment; tests/e2e train the model on a box")
pytest.importorskip(
    "transformers", reason="transformers is not in this environment; tests/e2e train the model on a box"
)

pytestmark = pytest.mark.slow


def start(out: Path, progress: Path, epochs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "small_gpt", "--out", str(out), "--epochs", str(epochs), "--threads", "1"],
        env={**os.environ, "PYTHONPATH": str(FILES), "GPUBOX_PROGRESS": str(progress)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(progress: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in progress.read_text().splitlines()] if progress.exists() else []


def left(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


def test_too_little_training_fails_with_the_first_wrong_answer(tmp_path: Path) -> None:
    out, progress = tmp_path / "models/m", tmp_path / "progress"
    trainer = start(out, progress, epochs=1)
    _, words = trainer.communicate(timeout=500)
    assert trainer.returncode == 1
    assert "are not word for word (float32); first: " in words
    assert "--epochs" in words
    assert left(out) == {".m.lock"}
    steps = [record for record in records(progress) if record["label"] == "epoch 1 of 1"]
    assert all(0 < step["done"] <= step["total"] and step["tokens_per_s"] > 0 for step in steps)
    assert steps[-1]["done"] == steps[-1]["total"]


def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    out, progress = tmp_path / "models/m", tmp_path / "progress"
    trainer = start(out, progress, epochs=18)
    while not any(record["label"].startswith("epoch") for record in records(progress)):
        assert trainer.poll() is None, trainer.communicate()
        time.sleep(0.2)
    trainer.send_signal(signal.SIGTERM)
    _, words = trainer.communicate(timeout=120)
    assert trainer.returncode == 143
    assert "stopped by SIGTERM" in words
    assert left(out) == {".m.lock"}
