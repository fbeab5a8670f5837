"""The inventory plugin over a real ledger and real box files; and the static example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpubox.ledger import Ledger
from unit.ansible.conftest import CHECKOUT

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPinnedPinnedPinnedPinnedPinnedPinnedPinned12"
CARDS = {"gpu": {"driver": "550.90.07", "cards": [{"name": "NVIDIA GeForce RTX 4090"}]}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "boxes").mkdir()
    return tmp_path


def known(name: str, **fields: object) -> None:
    with Ledger() as ledger:
        login = {
            "host": "198.51.100.7",
            "port": 38076,
            "user": "root",
            "host_key": KEY,
            "identity_file": Path("/keys/id"),
        }
        ledger.add(name, "attach", state="running", root="/data/gpubox", data_dir="/data", **{**login, **fields})


def inventory(place: Path, *options: str, source: str = "inventories/gpubox.yml") -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-inventory")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "GPUBOX_HOME": os.environ["GPUBOX_HOME"],
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = [str(program), "-i", str(CHECKOUT / source), *options]
    return subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


def listed(place: Path, source: str = "inventories/gpubox.yml") -> dict[str, Any]:
    done = inventory(place, "--list", source=source)
    assert done.returncode == 0, done.stderr

    def plain(item: dict[str, object]) -> object:
        return item.get("__ansible_unsafe", item)

    found: dict[str, Any] = json.loads(done.stdout, object_hook=plain)
    return found


def test_a_box_with_all_that_a_play_needs(place: Path) -> None:
    known("writer", facts=CARDS, digest="d")
    (place / "boxes/writer.yml").write_text(
        "provider: attach\ngpu: {name: RTX 4090}\nengine: vllm\nmodel: small-gpt\nvllm: {max_model_len: 256}\n"
    )
    found = listed(place)
    values = found["_meta"]["hostvars"]["writer"]
    config = Path(values["ansible_ssh_common_args"].split("'")[1]).read_text()
    assert values["ansible_host"] == "gpubox-writer"
    assert (values["ansible_port"], values["ansible_user"]) == (38076, "root")
    assert values["ansible_ssh_private_key_file"] == "/keys/id"
    assert "Host gpubox-writer" in config
    assert "HostName 198.51.100.7" in config
    assert "StrictHostKeyChecking yes" in config
    assert "HostKeyAlias gpubox-writer" in config
    assert values["ansible_remote_tmp"] == "/data/.ansible/tmp"
    assert values["ansible_interpreter_python_fallback"][0] == "/data/gpubox/controller/bin/python"
    wanted = {"gpubox_root": "/data/gpubox", "vllm_max_model_len": 256, "vllm_cuda": 12, "vllm_build": "cuda"}
    assert {name: values[name] for name in wanted} == wanted
    for group in ("provider_attach", "engine_vllm", "gpu_rtx_4090"):
        assert found[group]["hosts"] == ["writer"]


def test_a_box_without_login_is_no_host_and_a_bad_box_file_hurts_its_box_only(place: Path) -> None:
    with Ledger() as ledger:
        ledger.add("wished", "attach")
    known("good")
    (place / "boxes/good.yml").write_text("provider: attach\n")
    known("bad")
    (place / "boxes/bad.yml").write_text("provider: attach\nengin: vllm\n")
    known("bare")
    done = inventory(place, "--list")
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert set(hosts) == {"good", "bare"}
    assert "gpubox_root" in hosts["good"]
    assert "`bad` is left out" in done.stderr
    assert "engin" in done.stderr
    assert "`gpubox init bare`" in done.stderr
    assert "ansible_python_interpreter" not in hosts["good"], "a box that was never converged has no controller yet"


def test_a_broken_ledger_is_said_and_nothing_is_listed(place: Path) -> None:
    home = Path(os.environ["GPUBOX_HOME"])
    home.mkdir(parents=True)
    (home / "ledger.sqlite3").write_text("this is no database, and long enough to be taken for one" * 20)
    done = inventory(place, "--list")
    assert "ledger" in done.stderr
    assert "Traceback" not in done.stderr
    assert not json.loads(done.stdout)["_meta"]["hostvars"]


def test_the_example_is_an_inventory(place: Path) -> None:
    values = listed(place, "inventories/example")["_meta"]["hostvars"]
    assert values["twin"]["vllm_tensor_parallel_size"] == 2
    assert values["writer"]["vllm_kv_cache_dtype"] == "fp8"
    assert values["laptop"]["vllm_build"] == "cpu"
