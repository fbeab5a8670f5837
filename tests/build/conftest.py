"""Fixtures of the tests that compile or fetch gigabytes, all with the marker `build`: `make test-build` runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from box.testbox.base import cache_root

ROLES = Path(__file__).resolve().parents[2] / "roles"
PROGRAMS = [str(ROLES / role / "files") for role in ("python_env", "wheelhouse", "cuda_toolkit", "flash_attn")]
for _path in PROGRAMS:
    sys.path.insert(0, _path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of this directory that forgot its marker would make every `make test` compile for minutes."""
    for item in items:
        if item.nodeid.startswith("tests/build/"):
            item.add_marker(pytest.mark.build)


@pytest.fixture(scope="session")
def kept() -> Path:
    """A directory that outlives the run: what was fetched once is not fetched again."""
    path = cache_root() / "builds"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CUDA_HOME that the role's own program has made of wheels."""
    from build import flash

    root = tmp_path_factory.mktemp("cuda") / "root"
    (root / "controller/bin").mkdir(parents=True)
    (root / "controller/bin/python").symlink_to(sys.executable)
    (root / "controller/bin/uv").symlink_to(Path(sys.executable).parent / "uv")
    wheels = flash.versions("cuda_toolkit")["cuda_toolkit_wheels"]
    assert isinstance(wheels, dict)
    request = {
        "root": str(root), "version": "13.0", "key": "f" * 64, "source": "wheels", "archs": ["80", "90"],
        "wheels": wheels["13.0"], "conda_channel": "", "conda_packages": [], "index": {},
    }  # fmt: skip
    env = {**os.environ, "GPUBOX_CUDA_TOOLKIT": json.dumps(request), "PYTHONPATH": ":".join(PROGRAMS)}
    argv = [sys.executable, "-m", "cuda_toolkit"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return root / "cuda/13.0"
