"""A model that `up` copies itself, beside the converge that waits for it: ended, failed, gone on with, and whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli import wait_for
from e2e.conftest import adopt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

ROOT = "/root/autodl-tmp/gpubox"
TARGET = f"{ROOT}/models/tiny"
GIB = 1 << 30


def job(box: TestBox, name: str) -> dict[str, Any]:
    status = json.loads(box.exec(f"{ROOT}/bin/boxctl status").stdout or '{"jobs": []}')
    return next((item for item in status["jobs"] if item["name"] == name), {})


@pytest.mark.timeout(900)
def test_from_a_folder(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> None:
    box = adopt(gpubox, boxes(**offline("controller") | {"data_size": GIB}))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model.safetensors"
    # It takes a while to read, and no room.
    with weights.open("wb") as file:
        file.truncate(24 * GIB)
    gpubox.box_file("mybox", f"provider: attach\nmodel: {{source: folder, folder: {folder}}}\n")

    client = gpubox.start("up", "mybox")
    wait_for("the job to hear of it", lambda: (job(box, "model-tiny").get("progress") or {}).get("done"))
    progress = job(box, "model-tiny")["progress"]
    assert (progress["label"], progress["total"], progress["unit"]) == ("reading tiny", 24 * GIB + 2, "B")
    # Another one follows the same converge, and copies nothing.
    second = gpubox.start("up", "mybox", "--full")
    gpubox.until(second, "another gpubox copies the model already", "up", "mybox", "--full")
    os.killpg(second.pid, signal.SIGKILL)
    os.killpg(client.pid, signal.SIGINT)
    assert client.wait(120) == 130
    assert "`gpubox up mybox` goes on with it" in gpubox.stderr_of("up", "mybox")
    wait_for("the job to give up", lambda: job(box, "model-tiny").get("state") == "failed")
    assert "was cut off" in str(job(box, "model-tiny")["last_error"])
    wait_for("the converge to end", lambda: job(box, "converge").get("state") == "failed")

    # What cannot be copied ends the wait with its own reason, at once.
    with weights.open("wb") as file:
        file.truncate(2 * GIB)
    said = gpubox("up", "mybox", code=1).stderr
    assert "free, and the model needs 2.1 GiB" in said
    assert "model-tiny" not in said.partition("error:")[2]

    weights.write_bytes(bytes(range(256)) * (20 << 10))
    wanted = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "2 files, 5.0 MiB; copied meanwhile" in gpubox("up", "mybox").stderr
    assert box.exec(f"sha256sum {TARGET}/model.safetensors").stdout.split()[0] == wanted
    assert job(box, "model-tiny")["state"] == "done"
    assert box.exec(f"ls -A {TARGET}").stdout.split() == [".gpubox-copied.json", "config.json", "model.safetensors"]
    assert gpubox.json("up", "mybox")["changed"] is False
    assert "2 files, 5.0 MiB; on the box already" in gpubox("up", "mybox", "--full").stderr
