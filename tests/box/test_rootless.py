"""Boxes made by an ordinary user: tried by root as a user that exists only in a mount namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

from box.testbox import base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import BoxFactory

_UID = 54321
_TABLES = {
    "passwd": f"tester:x:{_UID}:{_UID}::HOME:/bin/sh\n",
    "group": f"tester:x:{_UID}:\n",
    "subuid": "tester:524288:65536\n",
    "subgid": "tester:524288:65536\n",
}
_BECOME = """
for table in passwd group subuid subgid; do mount --bind "$1/$table" "/etc/$table"; done
exec setpriv --reuid UID --regid UID --clear-groups env -i HOME="$1/home" PATH=/usr/bin:/bin PYTHONPATH="$1" \\
  GPUBOX_TEST_CACHE="$1/cache" GPUBOX_TEST_SCRATCH="$1/home/boxes" /usr/bin/python3 -c "$2"
""".replace("UID", str(_UID))
_PROGRAM = """
import json, os, sys
from box.testbox import NoBoxes, TestBox
from box.testbox.isolation import isolation, scratch_root
try:
    assert isolation().rootless
except NoBoxes as reason:
    print(json.dumps({"reason": str(reason)}), flush=True)
    sys.exit()
with TestBox(data_size=8 << 20) as box:
    box.write("/root/autodl-tmp/kept", "kept")
    box.power_cycle()
    print(json.dumps({"port": box.port, "password": box.password, "hostname": box.hostname}), flush=True)
    sys.stdin.readline()
print(json.dumps(os.listdir(scratch_root())), flush=True)
"""


@pytest.fixture
def place(boxes: BoxFactory) -> Iterator[Path]:
    """A directory that the user can read, with a copy of `testbox`, the archive of the base, and a home."""
    if os.geteuid() != 0:
        pytest.skip("this user is an ordinary one: all the other tests have tried it")
    if missing := [name for name in ("/usr/bin/python3", "/etc/subuid", "/etc/subgid") if not Path(name).exists()]:
        pytest.skip(f"rootless boxes cannot be tried here without {', '.join(missing)}")
    archive = base.archive()
    path = Path(tempfile.mkdtemp(prefix="gpubox-rootless-", dir="/var/tmp"))
    try:
        path.chmod(0o755)
        shutil.copytree(Path(base.__file__).parents[1], path / "box", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("home", "cache"):
            (path / name).mkdir()
        shutil.copyfile(archive, path / "cache" / archive.name)
        for name in ("home", "cache", f"cache/{archive.name}"):
            os.chown(path / name, _UID, _UID)
        for table, line in _TABLES.items():
            real = Path("/etc", table).read_text() if table in {"passwd", "group"} else ""
            (path / table).write_text(real + line.replace("HOME", str(path / "home")))
        yield path
    finally:
        shutil.rmtree(path)


def test_an_ordinary_user_makes_boxes(place: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _BECOME, "sh", str(place), _PROGRAM]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        made = json.loads(line)
        if "reason" in made:
            pytest.skip(f"rootless boxes: {made['reason']}")
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            client.connect("127.0.0.1", made["port"], "root", made["password"], allow_agent=False, look_for_keys=False)
            _, out, _ = client.exec_command(
                "hostname; id -u; cat autodl-tmp/kept; tty; rm -r /usr/share/bash-completion && echo gone", get_pty=True
            )
            assert out.read().decode().split() == [made["hostname"], "0", "kept/dev/pts/0", "gone"]
        rest, errors = process.communicate("\n", timeout=120)
        assert (json.loads(rest), errors) == ([], "")
    finally:
        process.kill()
        process.communicate()
