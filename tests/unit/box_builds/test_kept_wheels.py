"""What is kept of a build, found again, and compared when a service starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flash_build.request import Request, decide
from unit.ansible.conftest import CHECKOUT
from unit.box_builds.environments import NOW, environment
from wheelhouse import house
from wheelhouse.check import Fingerprint, Trouble, check, fingerprint
from wheelhouse.house import Wheel

CASES = sorted((Path(__file__).parent / "decide").glob("*.yml"))
CHECK = CHECKOUT / "roles/wheelhouse/files/wheelhouse/check.py"


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """A wheel in the house `tmp_path/wheelhouse`."""
    file = tmp_path / "flash_attn-2.8.3-cp312-cp312-linux_x86_64.whl"
    file.write_bytes(b"wheel" * 1000)
    return house.keep(tmp_path / "wheelhouse", file, "flash_attn", "2.8.3", NOW, "80", "built")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_is_to_be_done(path: Path) -> None:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    wanted = {
        "root": Path("/r"), "env_name": "vllm", "version": "2.8.3", "build": "auto", "wheel": "", "wheel_base_url": "",
        "cuda": "", "archs": "80", "max_jobs": None, "nvcc_threads": 1, "sha256": "", "tools": [], "requires": [],
        "imports": [], **case.get("request", {}),
    }  # fmt: skip
    noted = {**vars(NOW), **case["noted"]} if "noted" in case else {}
    built = {"version": "2.8.3", "arch": "80", "file": "x.whl", "sha256": "0", "origin": "built"}
    kept = Wheel(package="flash_attn", **vars(NOW), **built) if "kept" in case else None
    arguments = (Request(**wanted), replace(NOW, **case.get("now", {})), noted, kept)
    if "refusal" in case:
        with pytest.raises(Trouble) as refused:
            decide(*arguments, there=case.get("there", False))
        assert str(refused.value).startswith(case["refusal"])
    else:
        assert decide(*arguments, there=case.get("there", False)) == case["state"]


@pytest.mark.parametrize(
    ("torch", "cuda", "abi", "wanted"),
    [
        ("2.8.0+cu128", "12.8", "", ("2.8.0", "12.8", "TRUE")),
        # torch 2.6.0 is there with either ABI: +cu124 with the old one, +cu126 with the new one.
        ("2.6.0+cu124", "12.4", "0", ("2.6.0", "12.4", "FALSE")),
        ("2.6.0+cu126", "12.6", "1", ("2.6.0", "12.6", "TRUE")),
        ("2.13.0+cpu", None, "", ("2.13.0", "none", "TRUE")),
    ],
)
def test_fingerprint(tmp_path: Path, torch: str, cuda: str | None, abi: str, wanted: tuple[str, ...]) -> None:
    found = fingerprint(environment(tmp_path, torch, cuda, abi))
    assert (found.torch, found.cuda, found.abi, found.python) == (*wanted, "cp312")


def test_what_is_kept_is_found_by_what_it_was_built_for(tmp_path: Path, wheel: Wheel) -> None:
    place = tmp_path / "wheelhouse"
    assert wheel.key == "flash_attn-2.8.3-torch2.8-cu12.8-abiTRUE-cp312-x86_64-sm80"
    assert house.find(place, wheel.key) == wheel
    # A third number of torch is another build of the same interfaces; everything else is another wheel.
    assert house.key_of("flash_attn", "2.8.3", replace(NOW, torch="2.8.1"), "80") == wheel.key
    others = [{"torch": "2.9.0"}, {"cuda": "12.6"}, {"abi": "FALSE"}, {"python": "cp311"}, {"machine": "aarch64"}]
    for change in others:
        assert house.find(place, house.key_of("flash_attn", "2.8.3", replace(NOW, **change), "80")) is None
    assert house.find(place, house.key_of("flash_attn", "2.8.3", NOW, "80;90")) is None


def test_what_has_rotted_is_named_and_not_used(tmp_path: Path, wheel: Wheel) -> None:
    file = tmp_path / "wheelhouse" / wheel.key / wheel.file
    assert house.rotten(tmp_path / "wheelhouse") == []
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(Trouble, match="is not what was kept"):
        house.find(tmp_path / "wheelhouse", wheel.key)
    file.unlink()
    (sentence,) = house.rotten(tmp_path / "wheelhouse")
    assert f"remove `{file.parent}`" in sentence


def start(env: Path) -> subprocess.CompletedProcess[str]:
    """A service that says its process id, started by way of the check."""
    argv = [sys.executable, str(CHECK), str(env), "--", sys.executable, "-c", "import os; print('up', os.getpid())"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})


def test_a_service_starts_when_nothing_has_changed(tmp_path: Path, wheel: Wheel) -> None:
    env = environment(tmp_path / "env")
    assert start(env).stdout.startswith("up ")  # nothing compiled was put into it
    house.record(env, replace(wheel, machine=fingerprint(env).machine))
    assert start(env).stdout.startswith("up ")
    environment(env, torch="2.8.1+cu128")
    assert start(env).stdout.startswith("up ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"torch": "2.9.1+cu128"}, "torch 2.8.0 -> 2.9.1"),
        ({"cuda": "13.0", "torch": "2.8.0+cu130"}, "cuda 12.8 -> 13.0"),
        ({"abi": "0"}, "abi TRUE -> FALSE"),
        ({"cuda": None, "torch": "2.8.0+cpu"}, "cuda 12.8 -> none"),
    ],
)
def test_a_service_does_not_start_beside_another_torch(
    tmp_path: Path, wheel: Wheel, change: dict[str, Any], words: str
) -> None:
    env = environment(tmp_path / "env")
    house.record(env, replace(wheel, machine=fingerprint(env).machine))
    environment(env, **change)
    done = start(env)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: flash_attn 2.8.3 in `{env}` was built for another environment: {words}"
    assert "gpubox up" in hint


def test_every_service_of_the_environment_compares_by_itself(tmp_path: Path, wheel: Wheel) -> None:
    env, python = tmp_path / "env", f"{sys.version_info[0]}.{sys.version_info[1]}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    environment(env, python=python)
    now = fingerprint(env)
    house.record(env, replace(wheel, machine=now.machine, python=now.python))

    def run(**marks: str) -> subprocess.CompletedProcess[str]:
        argv = [str(env / "bin/python"), "-c", "print('up')"]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=marks)

    assert run(GPUBOX_SERVICE="vllm").stdout == "up\n"
    environment(env, torch="2.9.1+cu128", python=python)
    refused = run(GPUBOX_SERVICE="vllm")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "built for another environment: torch 2.8.0 -> 2.9.1" in refused.stderr
    assert len(refused.stderr.splitlines()) == 2
    # Whoever mends it is let in.
    assert run().stdout == "up\n"


def test_a_record_that_cannot_be_read_stops_too(tmp_path: Path, wheel: Wheel) -> None:
    env = environment(tmp_path / "env")
    house.record(env, wheel)
    (env / ".gpubox-wheels/flash_attn.json").write_text("{")
    assert start(env).returncode == 1
    (env / ".gpubox-wheels/flash_attn.json").unlink()
    assert check(env) == []
    with pytest.raises(Trouble, match="no Python environment"):
        fingerprint(tmp_path / "none")
    assert Fingerprint("2", "1", "TRUE", "cp3", "m") != NOW
