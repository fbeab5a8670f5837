"""`pip install gpubox` outside the clone: the wheel carries playbooks, roles, templates and inventories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from gpubox.converge import bundle

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import json
from gpubox import paths
from gpubox.converge import bundle
print(json.dumps({"content": str(paths.content()), "bundle": bundle.build().sha256}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with gpubox from its wheel; the dependencies are this environment's."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(place), str(ROOT)], check=True
    )
    (wheel,) = place.glob("gpubox-*.whl")
    venv.create(place / "venv", with_pip=False)
    python = place / "venv/bin/python"
    site = next((place / "venv/lib").glob("python*/site-packages"))
    subprocess.run([*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], check=True)
    # Behind its own packages, and without the .pth files there, which would bring the checkout.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, *args: str, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(python), *args], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bundle_of_the_wheel_is_that_of_the_checkout(python: Path, tmp_path: Path) -> None:
    seen = json.loads(run(python, "-c", LOOK, cwd=tmp_path))
    assert seen["content"].endswith("gpubox/_content")
    assert seen["bundle"] == bundle.build().sha256


def test_the_command_line_works_anywhere(python: Path, tmp_path: Path) -> None:
    gpubox = python.with_name("gpubox")
    assert "4090-vllm" in run(gpubox, "init", "--list", cwd=tmp_path)
    run(gpubox, "init", "mybox", "--template", "4090-vllm", cwd=tmp_path)
    assert (tmp_path / "boxes/mybox.yml").exists()
    assert json.loads(run(gpubox, "ls", "--json", cwd=tmp_path)) == []
