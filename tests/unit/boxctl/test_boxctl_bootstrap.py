"""bootstrap.sh: what it says where it cannot do its work, and once for real."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import FILES, bearing
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRIPT = str(FILES / "bootstrap.sh")
_SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell[0]) is None, reason=f"no {shell[0]} here"))
    for shell in (["dash"], ["busybox", "sh"], ["bash"])
]
_TOOLS = "cat chmod cmp cp cut dirname flock grep head id mkdir mv rm sed sha256sum sh sort tail touch tr uname which"

# What Debian's python3 answers without the package python3-venv, and an old one without pip.
_BARE = '#!/bin/sh\ncase "$1" in -c) echo bare ;; -V) echo Python 3.11.2 ;; *) exit 1 ;; esac\n'
_OLD = '#!/bin/sh\ncase "$1" in -V) echo Python 3.8.10 ;; *) exit 1 ;; esac\n'


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with a shell's usual tools, and no Python."""
    place = tmp_path / "bin"
    place.mkdir()
    for tool in _TOOLS.split():
        if found := shutil.which(tool):
            (place / tool).symlink_to(found)
    return place


def _run(shell: list[str], *arguments: str, **environ: str) -> tuple[int, dict[str, Any], str]:
    program = [str(shutil.which(shell[0])), *shell[1:]]
    env = {**os.environ, **environ}
    done = subprocess.run([*program, _SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


@pytest.mark.skipif(Path("/root/miniconda3").exists(), reason="a Python lies where rented boxes have one")
@pytest.mark.parametrize("shell", _SHELLS)
def test_no_python_at_all(shell: list[str], bare_path: Path, tmp_path: Path) -> None:
    code, answer, _ = _run(shell, str(tmp_path / "root"), PATH=str(bare_path))
    assert code == 3
    assert "no Python 3.11 to 3.13 on this box (found: none), no conda, and no pip" in answer["error"]
    assert "apt-get install python3" in answer["hint"]


@pytest.mark.skipif(Path("/root/miniconda3").exists(), reason="a Python lies where rented boxes have one")
@pytest.mark.parametrize(
    ("python", "error", "hint"),
    [
        (_OLD, "(found: python3 (Python 3.8.10))", "python3-venv"),
        (_BARE, "neither ensurepip nor pip", "`apt-get install python3-venv`"),
    ],
    ids=["too old", "without ensurepip"],
)
def test_a_python_that_will_not_do(bare_path: Path, tmp_path: Path, python: str, error: str, hint: str) -> None:
    (bare_path / "python3").write_text(python)
    (bare_path / "python3").chmod(0o755)
    code, answer, _ = _run(["sh"], str(tmp_path / "root"), PATH=str(bare_path))
    assert code == 3
    assert error in answer["error"]
    assert hint in answer["hint"]


def test_an_index_out_of_reach_is_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    code, answer, words = _run(["sh"], str(root), GPUBOX_INDEX_URL="http://me:hush@127.0.0.1:9/simple")
    assert code == 4, words
    assert answer["error"] == "the package index http://127.0.0.1:9/simple cannot be reached: Connection refused"
    assert "python_env.index_url" in answer["hint"]
    assert "GPUBOX_INDEX_URL" in answer["hint"]
    assert "making the controller environment" in words
    # Nothing half made is taken for whole.
    assert not (root / "controller" / ".gpubox-stamp").exists()
    assert bearing(f"GPUBOX_ROOT={root}") == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        code, answer, words = _run(["sh"], str(disk / "root"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert (code, answer["error"]) == (1, f"no space left on the disk of {disk}/root"), words
    assert "df -h" in answer["hint"]


@pytest.mark.parametrize("shell", _SHELLS)
def test_a_place_that_cannot_be_written_to(shell: list[str]) -> None:
    code, answer, _ = _run(shell, "/proc/gpubox")
    assert code == 1
    assert "cannot write to `/proc/gpubox`" in answer["error"]


def test_usage() -> None:
    assert _run(["sh"], "relative/path")[0] == 2
    assert _run(["sh"], "--nonsense", "/tmp/x")[0] == 2
    assert _run(["sh"])[0] == 2


def test_check_says_what_a_fresh_box_needs_and_touches_nothing(tmp_path: Path) -> None:
    code, answer, _ = _run(["sh"], "--check", str(tmp_path / "root"))
    assert (code, answer["changed"]) == (0, True)
    assert not (tmp_path / "root").exists()


@pytest.fixture
def fresh_root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "a root"
    yield root
    if (root / "bin" / "boxctl").exists():
        subprocess.run([str(root / "bin" / "boxctl"), "shutdown"], check=True, timeout=120)
    assert bearing(f"GPUBOX_ROOT={root}") == []


@pytest.mark.slow
def test_for_real_twice_at_once_and_again(fresh_root: Path, tmp_path: Path) -> None:
    """In a directory with a blank, with the package index of this machine."""
    system = tmp_path / "system"
    (system / "init/bin").mkdir(parents=True)
    (system / "init/bin/customer.cmd.sh").touch()
    for place in ("run/systemd/system", "etc/systemd/system"):
        (system / place).mkdir(parents=True)
    env = {**os.environ, "GPUBOX_SYSTEM": str(system), "GPUBOX_PYTHON": ""}
    argv = ["sh", _SCRIPT, "--boot-hook=yes", str(fresh_root)]
    both = [subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=500)[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert sorted(answer["changed"] for answer in answers) == [False, True]
    boxctl = str(fresh_root / "bin" / "boxctl")
    spec = {"argv": ["sleep", "1000"], "start_seconds": 0}
    subprocess.run([boxctl, "service", "apply", "web"], input=json.dumps(spec), text=True, check=True, timeout=60)
    until(lambda: '"state": "running"' in subprocess.check_output([boxctl, "status"], text=True))
    for shell in (["dash"], ["busybox", "sh"]):
        if shutil.which(shell[0]):
            code, answer, _ = _run(shell, "--check", "--boot-hook=yes", str(fresh_root), GPUBOX_SYSTEM=str(system))
            assert (code, answer["changed"]) == (0, False)
    # Ansible wants blocking streams, which those of a test runner need not be.
    ansible = [str(fresh_root / "controller/bin/ansible-playbook"), "--version"]
    versions = subprocess.run(ansible, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    assert "core 2.19" in versions
    if os.getuid() == 0 and Path("~").expanduser() == Path("~root").expanduser():
        _hooked(fresh_root, system, boxctl)
        _hooked_by_sudo(fresh_root, system, tmp_path / "sudo")


def _hooked(root: Path, system: Path, boxctl: str) -> None:
    """The box's boot: its PID 1 sources the profile, then runs AutoDL's script."""
    profile, autodl = system / "etc/profile.d/gpubox.sh", system / "etc/autodl.sh"
    assert str(root) in autodl.read_text()
    unit = system / "etc/systemd/system/gpubox-root.service"
    assert "User=root\n" in unit.read_text()
    (started,) = (line.removeprefix("ExecStart=") for line in unit.read_text().splitlines() if "ExecStart" in line)
    wanted = system / "etc/systemd/system/multi-user.target.wants/gpubox-root.service"
    assert wanted.resolve() == unit
    for boot in (["sh", "-eu", "-c", f". '{profile}'"], ["bash", str(autodl)], shlex.split(started)):
        subprocess.run([boxctl, "shutdown"], check=True, timeout=120)
        (root / "supervisor" / "stop").write_text("an earlier boot\n")
        done = subprocess.run(boot, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout + done.stderr == ""
        until(lambda: '"state": "running"' in subprocess.check_output([boxctl, "status"], text=True))
    code, answer, _ = _run(["sh"], "--unhook", str(root), GPUBOX_SYSTEM=str(system))
    assert (code, answer["changed"]) == (0, True)
    assert not profile.exists()
    assert str(root) not in autodl.read_text()
    assert not unit.exists()
    assert not wanted.is_symlink()


def _hooked_by_sudo(root: Path, system: Path, tools: Path) -> None:
    """Users of cloud images are not root, and become it without a password; others are not asked for one."""
    unit = system / "etc/systemd/system/gpubox-root.service"
    tools.mkdir()
    (tools / "id").write_text(f'#!/bin/sh\n[ "$1" = -u ] && echo 1000 || exec {shutil.which("id")} "$@"\n')
    (tools / "sudo").write_text('#!/bin/sh\necho "asked $1" >>"$0.log"; [ ! -e "$0.no" ] && shift && exec "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    (tools / "sudo.no").touch()
    environ = {"PATH": f"{tools}:{os.environ['PATH']}", "GPUBOX_SYSTEM": str(system)}
    assert _run(["sh"], "--boot-hook=yes", str(root), **environ)[1]["changed"] is False
    assert not unit.exists()
    (tools / "sudo.no").unlink()
    for changed in (True, False):
        assert _run(["sh"], "--boot-hook=yes", str(root), **environ)[1]["changed"] is changed
    assert "ExecStart=/bin/sh" in unit.read_text()
    assert not (system / "etc/profile.d/gpubox.sh").exists()
    # A box that is a directory of a machine is none of that machine's boot.
    assert _run(["sh"], "--unhook", str(root), **environ, HOME=str(root))[1]["changed"] is False
    assert _run(["sh"], "--unhook", str(root), **environ)[1]["changed"] is True
    assert not unit.exists()
    assert set((tools / "sudo.log").read_text().splitlines()) == {"asked -n"}
