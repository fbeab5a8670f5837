"""Converting experts for AMX, with a stand-in for upstream's script: half of one is never taken for the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kt_tools import convert
from kt_tools.errors import Trouble
from kt_tools.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

# What upstream's script prints and leaves (kt-kernel/scripts/convert_cpu_weights.py at v0.7.0).
SCRIPT = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
out.mkdir()
print("Processing layer 3 (1/2)...")
print("Processing layer 4 (2/2)...")
(out / "arguments").write_text(" ".join(sys.argv[1:]))
if "{mode}" == "whole":
    (out / "model.safetensors.index.json").write_text("{{}}")
else:
    print("No MoE expert layers found in input!")
"""


@pytest.fixture
def wish(tmp_path: Path) -> convert.Wish:
    source = tmp_path / "src"
    (source / "kt-kernel/scripts").mkdir(parents=True)
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").symlink_to(sys.executable)
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    values = {"url": "u", "tag": "v0.7.0", "commit": commit, "path": str(source), "submodules": False}
    paths = {"env": str(tmp_path / "env"), "model": str(tmp_path / "model"), "output": str(tmp_path / "model-AMXINT8")}
    rest = {"sources": values, "input_type": "bf16", "method": "AMXINT8", "threads": 30, "nodes": 1}
    return convert.Wish.read(json.dumps({**paths, **rest}))


def script(wish: convert.Wish, mode: str) -> None:
    (wish.sources.path / "kt-kernel/scripts/convert_cpu_weights.py").write_text(SCRIPT.format(mode=mode))


def test_a_conversion(wish: convert.Wish, tmp_path: Path) -> None:
    script(wish, "whole")
    # Half of one, from a run that was killed: numbered as the whole would be.
    wish.output.mkdir()
    (wish.output / "model-00001-of-PLACEHOLDER.safetensors").touch()
    convert.run(wish, Progress(tmp_path / "progress"))
    said = (wish.output / "arguments").read_text()
    assert "--quant-method int8 --cpuinfer-threads 30 --threadpool-count 1" in said
    assert "--resume-layer" not in said
    assert not (wish.output / "model-00001-of-PLACEHOLDER.safetensors").exists()
    told = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert {"label": "converting the experts", "done": 2, "total": 2, "unit": "layer"} in told
    script(wish, "nothing")
    convert.run(wish, Progress(None))
    assert (wish.output / "arguments").read_text() == said


def test_a_script_that_says_it_is_done_and_left_nothing(wish: convert.Wish) -> None:
    script(wish, "nothing")
    with pytest.raises(Trouble, match=r"wrote no whole model .* No MoE expert layers found"):
        convert.run(wish, Progress(None))
