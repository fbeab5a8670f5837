"""Real units of FlashAttention with the nvcc that the role installs, in a cgroup with a memory limit."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from box.testbox import cgroup
from build import flash
from build.conftest import PROGRAMS

# The smallest units: one takes 3.3 GiB at its peak.
UNITS = ["flash_fwd_hdim32_bf16_sm80", "flash_fwd_hdim32_fp16_sm80"]
LIMIT = int(4.5 * (1 << 30))


def built(place: Path, how: str, memory: int) -> dict[str, Any]:
    """Build in a group of its own; what came of it."""
    name = f"gpubox-build-{place.name}"
    try:
        groups = cgroup.limited(name, memory=memory, cpus=None)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    try:
        env = {**os.environ, "PYTHONPATH": ":".join(PROGRAMS)}
        words = [sys.executable, str(Path(__file__).parent / "in_group.py")]
        argv = [*words, ":".join(str(group.path) for group in groups), str(place), how]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    finally:
        cgroup.remove(name)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    logging.info("%s: %s", how, {**result, "said": ""})
    return result


def test_the_rule_keeps_a_build_alive_where_more_jobs_are_killed(tmp_path: Path, kept: Path, toolkit: Path) -> None:
    """Two at once in 4.5 GiB, as `MAX_JOBS=64` in 480 GB: the kernel kills them. By the rule, one after another."""
    article = flash.project(tmp_path / "article", kept, toolkit, UNITS)
    many = built(article, str(len(UNITS)), LIMIT)
    assert many["code"] != 0
    assert many["oom"]

    ours = flash.project(tmp_path / "ours", kept, toolkit, UNITS)
    careful = built(ours, "rule", LIMIT)
    assert (careful["code"], careful["tried"], careful["oom"], careful["ended"]) == (0, [1], False, 0)
    assert {path.stem for path in (ours / "build/temp").glob("*.o")} == set(UNITS)
    assert 2 << 30 < careful["peak"] < LIMIT
