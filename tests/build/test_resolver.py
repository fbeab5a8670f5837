"""What the resolver decides for today's engines can be had: the real index resolves it. Fetches metadata only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from gpubox.boxfile import BoxFile
from gpubox.builds import resolve
from gpubox.builds.matrix import matrix
from unit.preflight.boxes import facts_of

BOX = {"provider": "attach", "model": {"source": "modelscope", "id": "a/b"}}
CURRENT: dict[str, dict[str, Any]] = {
    "vllm-cuda13": {"driver": "580.95.05", "box": {"engine": "vllm"}},
    "vllm-cuda12": {"driver": "550.54.15", "box": {"engine": "vllm"}},
    "ktransformers-current": {
        "driver": "550.54.15",
        "box": {"engine": "ktransformers", "ktransformers": {"recipe": "current"}},
    },
}


@pytest.mark.build
@pytest.mark.parametrize("name", CURRENT)
def test_the_index_resolves_what_was_decided(name: str, tmp_path: Path) -> None:
    case = CURRENT[name]
    card = {"count": 1, "name": "NVIDIA GeForce RTX 4090", "gib": 24, "compute_cap": "8.9"}
    facts = facts_of({"base": "autodl-4090", "facts": {"gpu": {"driver": case["driver"]}}, "cards": card})
    plan = resolve(facts, BoxFile.model_validate(BOX | case["box"]))
    environment = plan.environments[0]
    wanted = tmp_path / "requirements.in"
    wanted.write_text("\n".join(environment.requirements) + "\n", encoding="utf-8")

    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--no-header", "--no-annotate",
            "--python-version", environment.python, "--python-platform", "x86_64-manylinux_2_35", str(wanted),
        ],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    pins = [Requirement(line) for line in done.stdout.splitlines() if "==" in line]
    versions = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    assert versions["torch"] == environment.torch
    # What the wheels bring of CUDA is what the resolver said of them.
    runtime = versions.get("nvidia-cuda-runtime") or versions["nvidia-cuda-runtime-cu12"]
    assert environment.cuda is not None
    assert runtime.startswith(environment.cuda + ".")
    if any(item.startswith("transformers<5") for item in environment.requirements):
        assert versions["transformers"].startswith("4.")
    for row in matrix().same_directory:
        assert len(set(row.packages) & versions.keys()) <= 1, row.directory
