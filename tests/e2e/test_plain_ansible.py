"""The same playbooks and roles the ordinary way: `ansible-playbook` over SSH."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from box.testbox import TestBox
    from e2e.cli import Gpubox

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


def ansible(gpubox: Gpubox, *args: str, program: str = "ansible-playbook") -> str:
    """Run one of Ansible's programs in the checkout; fails unless it ends well."""
    # The path of a Unix socket may have 107 bytes, and pytest's directories are long.
    with tempfile.TemporaryDirectory(prefix="gpubox-cp-") as sockets:
        env = {
            **gpubox.env,
            "GPUBOX_BOXES": str(gpubox.directory / "boxes"),
            "ANSIBLE_HOME": str(gpubox.directory / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
            # No master connection outlives its directory.
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=5s -o PreferredAuthentications=publickey",
            "PATH": f"{PROGRAMS}{os.pathsep}{gpubox.env['PATH']}",
        }
        argv = [str(PROGRAMS / program), *args]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def counts(output: str, host: str) -> dict[str, int]:
    """The recap of one host."""
    (recap,) = re.findall(rf"^{host}\s+: (.+)$", output, flags=re.MULTILINE)
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap)}


@pytest.fixture
def added(gpubox: Gpubox, rented: TestBox) -> TestBox:
    gpubox("add", "mybox", rented.ssh_line, "--yes", stdin=f"{rented.password}\n")
    gpubox.box_file("mybox", "provider: attach\n")
    return rented


def test_up_over_ssh_and_then_ours(gpubox: Gpubox, added: TestBox) -> None:
    up = ("-i", "inventories/gpubox.yml", "playbooks/up.yml", "--limit", "mybox")
    graph = json.loads(ansible(gpubox, "-i", "inventories/gpubox.yml", "--list", program="ansible-inventory"))
    assert graph["provider_attach"]["hosts"] == ["mybox"]

    first = counts(ansible(gpubox, *up), "mybox")
    assert first["changed"] > 0
    assert first["failed"] == 0
    second = counts(ansible(gpubox, *up), "mybox")
    assert second["changed"] == 0
    checked = counts(ansible(gpubox, *up, "--check", "--diff"), "mybox")
    assert (checked["changed"], checked["failed"]) == (0, 0)
    ansible(gpubox, "-i", "inventories/gpubox.yml", "playbooks/verify.yml", "--limit", "mybox")

    # The box does not know which way it was converged: ours finds nothing to change.
    ours = gpubox("up", "mybox")
    assert "changed)" not in ours.stderr
    assert gpubox.json("up", "mybox")["changed"] is False

    ansible(gpubox, "-i", "inventories/gpubox.yml", "playbooks/remove.yml", "--limit", "mybox")
    assert not [line for line in added.processes() if "supervisord" in line]
    assert added.exec("test -e /etc/profile.d/gpubox.sh").exit_code != 0


def test_check_before_anything_is_there_changes_nothing(gpubox: Gpubox, added: TestBox) -> None:
    ansible(gpubox, "-i", "inventories/gpubox.yml", "playbooks/up.yml", "--limit", "mybox", "--check", "--diff")
    assert added.exec("ls -A /root/autodl-tmp").stdout == ""


def test_a_static_inventory(gpubox: Gpubox, added: TestBox, tmp_path: Path) -> None:
    config = gpubox.home / ".local/share/gpubox/boxes/mybox/ssh_config"
    gpubox("ssh", "mybox", "true")  # writes the ssh_config of the box
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all:\n  hosts:\n    mybox:\n      ansible_host: gpubox-mybox\n"
        f"      ansible_ssh_common_args: -F {config}\n"
        "      gpubox_data_dir: /root/autodl-tmp\n      gpubox_root: /root/autodl-tmp/gpubox\n"
    )
    assert counts(ansible(gpubox, "-i", str(inventory), "playbooks/up.yml"), "mybox")["failed"] == 0
    assert added.exec("/root/autodl-tmp/gpubox/bin/boxctl status").exit_code == 0
