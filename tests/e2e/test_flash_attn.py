"""FlashAttention on a real box: built, killed in the middle, gone on with, kept, checked, and sent to the next."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from box import standin_packages
from box.standin_packages import FREE, UNITS, VERSION
from box.testbox.options import Bind
from e2e.conftest import adopt
from e2e.test_plain_ansible import ansible, counts
from gpubox import paths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

ROOT = "/root/autodl-tmp/gpubox"
LINKS = "/opt/standins"
VARIABLES = {
    "python_env_find_links": ["/opt/wheelhouse", LINKS], "python_env_no_index": True,
    "flash_attn_version": VERSION, "flash_attn_env_name": "engine", "flash_attn_archs": "80", "flash_attn_max_jobs": 2,
}  # fmt: skip


@pytest.fixture
def make_box(
    boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path, gpubox: Gpubox
) -> Callable[[str], TestBox]:
    """A box that is up, with stand-ins for torch, nvcc and FlashAttention where its packages come from."""
    pinned = yaml.safe_load((paths.content() / "roles/flash_attn/vars/versions.yml").read_text())
    links = standin_packages.make(tmp_path / "standins")

    def make(name: str) -> TestBox:
        wishes = offline("controller", *pinned["flash_attn_tools"], *pinned["flash_attn_requires"])
        wishes["binds"] = (*wishes["binds"], Bind(str(links), LINKS))
        box = boxes(**wishes)
        box.exec("printf '#!/bin/sh\\n' > /usr/local/bin/g++ && chmod 755 /usr/local/bin/g++")
        adopt(gpubox, box, name)
        gpubox("up", name)
        return box

    return make


def play(gpubox: Gpubox, name: str, *stages: str, check: bool = False) -> dict[str, int]:
    """Run entry points of roles on a box, after the environment; the recap."""
    environment = {"python_env_name": "engine", "python_env_requirements": ["torch==2.8.0"], "python_env_wait": False}
    tasks: list[dict[str, Any]] = [
        {"name": "Make it", "ansible.builtin.include_role": {"name": "python_env"}, "vars": environment},
        *({"name": it, "ansible.builtin.include_role": entry_point(it)} for it in stages),
    ]
    playbook = gpubox.directory / "flash.yml"
    playbook.write_text(
        yaml.safe_dump([{"name": "T", "hosts": "all", "gather_facts": False, "vars": VARIABLES, "tasks": tasks}])
    )
    options = ["--check"] if check else []
    return counts(ansible(gpubox, "-i", "inventories/gpubox.yml", str(playbook), "--limit", name, *options), name)


def entry_point(stage: str) -> dict[str, str]:
    """`verify` is flash_attn's, `cuda_toolkit:verify` another role's."""
    role, _, entry = stage.rpartition(":")
    return {"name": role or "flash_attn", "tasks_from": entry}


def job(box: TestBox) -> dict[str, Any]:
    status = json.loads(box.exec(f"{ROOT}/bin/boxctl status").stdout)
    (found,) = (item for item in status["jobs"] if item["name"] == "flash-attn-engine")
    return dict(found)


def wait(box: TestBox, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while not until(found := job(box)):
        assert found["state"] == "running", f"{found}\n{box.exec(f'{ROOT}/bin/boxctl logs flash-attn-engine').stdout}"
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def compiled(box: TestBox) -> list[str]:
    return box.exec("cat /root/autodl-tmp/compiled").stdout.split()


BRING_ALONG = f"""
from gpubox import wheelhouse
from gpubox.ledger import Ledger
from gpubox.remote.host import Host
from gpubox.remote.login import Login
print(len(wheelhouse.wheels()))
with Ledger() as ledger, Host(Login.of(ledger.get('second'))) as host:
    print(len(wheelhouse.send(host, {ROOT!r}, wheelhouse.fitting({VARIABLES!r}, wheelhouse.wheels()))))
"""


def bring_along(gpubox: Gpubox) -> list[str]:
    """What the backup has put into the house at home goes onto the second box: how many are there, and went."""
    argv = [sys.executable, "-c", BRING_ALONG]
    done = subprocess.run(argv, cwd=gpubox.directory, env=gpubox.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_built_killed_kept_and_sent(gpubox: Gpubox, make_box: Callable[[str], TestBox]) -> None:
    first = make_box("first")
    assert play(gpubox, "first", "start", check=True)["failed"] == 0
    assert play(gpubox, "first", "start")["changed"] > 0
    running = wait(first, lambda found: (found.get("progress") or {}).get("done") == FREE)
    assert running["progress"]["total"] == UNITS
    assert "min left" in running["progress"]["label"]

    # The power goes away in mid-build; what was compiled is not compiled again.
    first.power_cycle()
    gpubox("up", "first")
    first.exec("touch /root/autodl-tmp/go")
    assert play(gpubox, "first", "main")["failed"] == 0
    units = compiled(first)
    assert [units.count(f"unit{n}.o.cu") for n in range(FREE)] == [1] * FREE
    assert {units.count(f"unit{n}.o.cu") for n in range(FREE, UNITS)} <= {1, 2}
    others = ("cuda_toolkit:main", "cuda_toolkit:verify", "wheelhouse:verify")
    assert play(gpubox, "first", "main", "verify", *others)["changed"] == 0

    # A service does not start beside another torch.
    check = f"GPUBOX_SERVICE=engine {ROOT}/envs/engine/bin/python -c 'print(\"up\")'"
    assert first.exec(check).stdout == "up\n"
    site = first.exec(f"echo {ROOT}/envs/engine/lib/python3*/site-packages").stdout.strip()
    first.exec(f"sed -i s/2.8.0/2.9.0/ {site}/torch/version.py")
    assert "torch 2.8.0 -> 2.9.0" in first.exec(check).stderr
    first.exec(f"sed -i s/2.9.0/2.8.0/ {site}/torch/version.py")

    # Home with a backup, and to the next box, which compiles nothing and needs no compiler.
    assert "is kept for the next box" in gpubox("backup", "first").stderr
    second = make_box("second")
    assert bring_along(gpubox) == ["1", "1"]
    assert play(gpubox, "second", "main", "verify")["failed"] == 0
    assert second.exec("test -e /root/autodl-tmp/compiled").exit_code == 1
    assert second.exec(f"test -e {ROOT}/cuda").exit_code == 1
    assert play(gpubox, "second", "remove", "cuda_toolkit:remove", "wheelhouse:remove")["changed"] > 0
    assert second.exec(f"ls {site} | grep -c flash").stdout.strip() == "0"
