"""The script that makes environments: where packages come from, real environments, what it says when it fails."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from unit.ansible.conftest import CHECKOUT, HERE

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = CHECKOUT / "roles/python_env/files/make_env.py"
CASES = sorted((HERE / "fixtures/python_env").glob("*.yml"))
ERRORS = sorted((HERE / "fixtures/uv_errors").glob("*.yml"))
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def make_env() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_env", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["make_env"] = module  # dataclasses look there
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_where_packages_come_from(
    path: Path, make_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = yaml.safe_load(path.read_text())
    conf = tmp_path / ".config/pip/pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(case.get("pip", ""))
    environ = {"HOME": str(tmp_path), **case.get("environ", {})}
    # This machine's own /etc/pip.conf is no part of the case.
    monkeypatch.setattr(make_env, "SYSTEM_PIP", ())
    request = make_env.Request(name="t", root=tmp_path, key=KEY, requirements=["x"], **case["request"])
    settings = make_env.index_settings(request, make_env.pip_configuration(environ), environ)
    first, strategy, *arguments = make_env.uv_arguments(settings)
    assert (first, strategy) == ("--index-strategy", "unsafe-best-match")
    assert arguments == case["arguments"]


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
def test_a_failure_names_what_mends_it(path: Path, make_env: ModuleType) -> None:
    case = yaml.safe_load(path.read_text())
    line = make_env.explain(case["said"], {})
    assert len(line.splitlines()) == 1
    assert not [word for word in case["words"] if word not in line]
    assert "pw@" not in line


def test_progress_adds_up(make_env: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    progress = make_env.Progress(str(path))
    for line in (
        "Resolved 3 packages in 225ms\n",
        "Downloading numpy (16.0MiB)\n",
        "Downloading torch (1.0GiB)\n",
        " Downloaded numpy\n",
        " Downloaded torch\n",
        "Prepared 3 packages in 465ms\n",
        " + numpy==2.4.6\n",
    ):
        progress.hear(line)
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["label"] for line in told] == [
        "fetching 3 packages",
        "downloading numpy",
        "downloading torch and 1 more",
        "downloading torch",
        "downloaded",
        "installing 3 packages",
    ]
    assert [(line["done"], line["total"]) for line in told[2:5]] == [(0, 1040.0), (16.0, 1040.0), (1040.0, 1040.0)]


def wheel(directory: Path, version: str) -> None:
    directory.mkdir(exist_ok=True)
    info = f"gpubox_probe-{version}.dist-info"
    with zipfile.ZipFile(directory / f"gpubox_probe-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("gpubox_probe.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: gpubox-probe\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


class Box:
    """A root with a controller whose uv and Python are this machine's."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.wheels = place / "wheels"
        self.home = place
        bins = self.root / "controller/bin"
        bins.mkdir(parents=True)
        assert UV
        (bins / "uv").symlink_to(UV)
        (bins / "python").symlink_to(sys.executable)

    def make(self, key: str = KEY, **fields: object) -> subprocess.CompletedProcess[str]:
        request = {
            "name": "probe",
            "root": str(self.root),
            "key": key,
            "requirements": ["gpubox-probe"],
            "find_links": [str(self.wheels)],
            "no_index": True,
            **fields,
        }
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "GPUBOX_PYTHON_ENV": json.dumps(request),
            "GPUBOX_PROGRESS": str(self.home / "progress.jsonl"),
        }
        return subprocess.run(
            [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def version(self) -> str:
        code = "import gpubox_probe; print(gpubox_probe.version)"
        python = self.root / "envs/probe/bin/python"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(UV is None, reason="uv is not installed here")
def test_makes_renews_and_never_half(tmp_path: Path) -> None:
    box = Box(tmp_path)
    wheel(box.wheels, "1.0")
    done = box.make()
    assert done.returncode == 0, done.stderr
    assert box.version() == "1.0"
    assert "environment `probe` is ready" in (tmp_path / "progress.jsonl").read_text()

    # A build that fails leaves the environment as it was.
    wheel(box.wheels, "2.0")
    failed = box.make("f" * 64, requirements=["gpubox-probe", "gpubox-missing"])
    assert failed.returncode == 1
    assert "gpubox-missing" in failed.stderr
    assert "`python_env`" in failed.stderr
    assert box.version() == "1.0"

    # A half-made build of the same key is not taken for a whole one.
    half = box.root / "envs/.builds/probe" / ("a" * 16)
    (half / "bin").mkdir(parents=True)
    assert box.make("a" * 64).returncode == 0
    assert box.version() == "2.0"
    builds = sorted(path.name for path in (box.root / "envs/.builds/probe").iterdir())
    assert builds == [KEY[:16], "a" * 16], "the one that a running service may still use stays, failed ones go"

    # Back to the first: nothing is built again.
    assert "Creating" not in box.make().stdout
    assert box.version() == "1.0"


@pytest.mark.skipif(UV is None, reason="uv is not installed here")
def test_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    box = Box(tmp_path)
    wheel(box.wheels, "1.0")
    done = box.make(requirements=["gpubox-probe"], excludes=["gpubox-probe"])
    assert done.returncode == 0, done.stderr
    assert (box.root / "envs/probe/bin/python").exists()
    assert not list((box.root / "envs/probe").glob("lib/*/site-packages/gpubox_probe.py"))


@pytest.mark.skipif(UV is None, reason="uv is not installed here")
def test_an_environment_that_cannot_be_imported_is_none(tmp_path: Path) -> None:
    box = Box(tmp_path)
    wheel(box.wheels, "1.0")
    failed = box.make(imports=["gpubox_probe", "gpubox_probe.gpu"])
    assert failed.returncode == 1
    assert "its packages do not work together" in failed.stderr
    assert "gpubox_probe.gpu" in failed.stderr
    assert not (box.root / "envs/probe").exists()
    done = box.make(imports=["gpubox_probe"])
    assert done.returncode == 0, done.stderr
    assert list((box.root / "envs/probe").glob("lib/*/site-packages/__pycache__/gpubox_probe.*.pyc"))
