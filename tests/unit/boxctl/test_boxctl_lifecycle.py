"""Boot, shutdown, logs, the manifest, and a disk that takes nothing more."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import FILES, alive, bearing
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unit.boxctl.root import Root

    Spec = Callable[..., dict[str, Any]]


def test_shutdown_leaves_nothing(own_root: Root, spec: Spec, tmp_path: Path) -> None:
    stubborn = (
        f"setsid sh -c \"trap '' TERM; echo \\$\\$ > {tmp_path}/pid; while :; do sleep 1; done\" & exec sleep 1001"
    )
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec(stubborn, start_seconds=0, stop_seconds=1))
    own_root.boxctl("job", "start", "work", stdin=spec("setsid sleep 1000 & exec sleep 1001", key="1", stop_seconds=1))
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    # A straggler of a login that bears the mark, although nothing here started it.
    other = subprocess.Popen(["sleep", "1000"], env={**os.environ, "GPUBOX_ROOT": str(own_root.path)})
    # What a power cut leaves when supervisord is just making its socket.
    digest = hashlib.sha256(str(own_root.path).encode()).hexdigest()[:12]
    sockets = Path("/tmp") / f"gpubox-{os.getuid()}-{digest}"
    (sockets / "supervisor.sock.4711").touch()
    answer = own_root.boxctl("shutdown")
    assert not sockets.exists()
    assert (answer["services"], answer["jobs"], answer["left"]) == (["web"], ["work"], 0)
    assert [item["pid"] for item in answer["killed"]] == [other.pid]
    assert other.wait(timeout=10) < 0
    assert bearing(f"GPUBOX_ROOT={own_root.path}") == []
    assert not alive(int((tmp_path / "pid").read_text()))
    assert own_root.service("web")["state"] == "stopped"
    assert own_root.boxctl("shutdown") == {"services": [], "jobs": [], "killed": [], "left": 0}


def test_two_shutdowns_at_once_end_well(own_root: Root, spec: Spec, tmp_path: Path) -> None:
    """As after a `gpubox down` that was killed, whose shutdown goes on: the second one waits, and neither ends the
    other."""
    own_root.boxctl("boot")
    slow = (
        f"trap ': > {tmp_path}/told; until [ -e {tmp_path}/enough ]; do sleep 0.1; done; exit' TERM; sleep 1000 & wait"
    )
    own_root.boxctl("job", "start", "work", stdin=spec(slow, key="1", stop_seconds=60))
    first = own_root.popen("shutdown")
    until((tmp_path / "told").exists)
    second = own_root.popen("shutdown")
    until(lambda: _waits_for_a_lock(second.pid))
    # Somebody logs in meanwhile, too.
    hook = own_root.popen("boot", "--hook")
    assert json.loads(hook.communicate(timeout=60)[0]) == {"changed": False, "supervisord": None}
    (tmp_path / "enough").touch()
    told = [json.loads(each.communicate(timeout=120)[0]) for each in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert [(one["jobs"], one["killed"], one["left"]) for one in told] == [(["work"], [], 0), ([], [], 0)]
    assert bearing(f"GPUBOX_ROOT={own_root.path}") == []


def test_a_login_that_was_about_to_start_everything_sees_the_shutdown(own_root: Root) -> None:
    own_root.boxctl("boot")
    own_root.boxctl("shutdown")
    mark = own_root.path / "supervisor" / "stop"
    before = mark.read_text()
    mark.unlink()
    with (own_root.path / "supervisor" / "boot.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It has seen that nobody has shut the box down, and is overtaken.
        hook = own_root.popen("boot", "--hook")
        until(lambda: _waits_for_a_lock(hook.pid))
        mark.write_text(before)
    assert json.loads(hook.communicate(timeout=60)[0]) == {"changed": False, "supervisord": None}
    assert own_root.boxctl("boot", "--check")["changed"]
    assert mark.read_text() == before


def test_who_asks_for_something_while_all_ends_is_no_process_that_cannot_be_ended(own_root: Root, spec: Spec) -> None:
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    asking = subprocess.Popen(
        ["sh", "-c", f"while :; do {own_root.path}/bin/boxctl status; done"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert own_root.boxctl("shutdown")["left"] == 0
    finally:
        os.killpg(asking.pid, signal.SIGKILL)
        asking.wait()


def _waits_for_a_lock(pid: int) -> bool:
    return re.search(rf"-> .* {pid} ", Path("/proc/locks").read_text()) is not None


def test_services_come_back_at_boot_but_not_at_a_login_after_a_shutdown(own_root: Root, spec: Spec) -> None:
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    own_root.boxctl("shutdown")
    login = ["sh", str(own_root.path / "supervisor" / "autostart.sh"), str(own_root.path)]
    subprocess.run(login, check=True, timeout=60)
    assert own_root.boxctl("boot", "--hook") == {"changed": False, "supervisord": None}
    assert own_root.boxctl("boot", "--check")["changed"]
    # The same mark of an earlier boot means nothing.
    (own_root.path / "supervisor" / "stop").write_text("of another boot\n")
    subprocess.run(login, check=True, timeout=60)
    until(lambda: own_root.service("web")["state"] == "running")
    before = own_root.supervisord()
    subprocess.run(login, check=True, timeout=60)
    assert not own_root.boxctl("boot")["changed"]
    assert own_root.supervisord() == before


def test_a_killed_keeper_s_supervisord_is_kept_by_the_next(own_root: Root, spec: Spec) -> None:
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    until(lambda: own_root.service("web")["state"] == "running")
    supervisord, web = own_root.supervisord(), own_root.service("web")["pid"]
    os.kill(int((own_root.path / "supervisor" / "keeper.pid").read_text()), signal.SIGKILL)
    until(lambda: own_root.boxctl("boot", "--check")["changed"])
    own_root.boxctl("boot")
    until(lambda: not own_root.boxctl("boot", "--check")["changed"])
    assert (own_root.supervisord(), own_root.service("web")["pid"]) == (supervisord, web)
    os.kill(supervisord, signal.SIGKILL)
    until(lambda: own_root.supervisord() != supervisord and own_root.service("web")["state"] == "running")


def test_the_keeper_ends_with_its_root(own_root: Root, spec: Spec) -> None:
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    moved = own_root.path.with_name("moved")
    own_root.path.rename(moved)
    until(lambda: bearing(f"GPUBOX_ROOT={own_root.path}") == [])
    moved.rename(own_root.path)


def test_somebody_else_s_socket_directory_is_not_used(own_root: Root) -> None:
    digest = hashlib.sha256(str(own_root.path).encode()).hexdigest()[:12]
    place = Path(f"/tmp/gpubox-{os.getuid()}-{digest}")
    place.symlink_to("/var/tmp")
    try:
        assert "belongs to somebody else" in own_root.boxctl("boot", code=1)["error"]
    finally:
        place.unlink()


def test_logs_show_the_last_lines_and_follow(root: Root, spec: Spec) -> None:
    root.boxctl("job", "start", "talk", stdin=spec("seq 1 500; while read -r x; do echo $x; done; sleep 1000", key="1"))
    until(lambda: root.run("logs", "talk", "--lines", "1").stdout == "500\n")
    assert root.run("logs", "talk", "--lines", "3").stdout == "498\n499\n500\n"
    assert len(root.run("logs", "talk", "--lines", "9999").stdout.splitlines()) == 501
    follower = root.popen("logs", "talk", "--lines", "2", "--follow")
    assert follower.stdout is not None
    assert [follower.stdout.readline() for _ in range(2)] == ["499\n", "500\n"]
    with (root.path / "logs" / "talk.log").open("a") as log:
        log.write("later\n")
    assert follower.stdout.readline() == "later\n"
    follower.stdout.close()
    follower.wait(timeout=60)
    assert "there is: " in root.boxctl("logs", "nothing", code=1)["hint"]


def test_manifest_lists_what_exists_only_here(
    root: Root, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "precious"
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "model.bin").write_bytes(os.urandom(3 << 20))
    (place / "loop").symlink_to(place)
    (place / "gone").symlink_to(place / "nowhere")
    with socket.socket(socket.AF_UNIX) as pipe:
        pipe.bind(os.path.relpath(place / "socket"))
    (root.path / "results/mine").mkdir(parents=True, exist_ok=True)
    (root.path / "results/mine/table.csv").write_text("always kept")
    inside = root.path / "work"
    inside.mkdir(exist_ok=True)
    (inside / "one.json").write_text("1")
    (inside / "two.txt").write_text("2")
    (root.path / "notes.md").write_text("kept by the user")
    (root.path / "keep.json").write_text('{"globs": ["*.md"]}')
    wanted = [str(place), "work/*.json", str(tmp_path / "missing")]
    root.boxctl("job", "start", "work", stdin=spec("echo done", key="1", precious=wanted))
    root.boxctl("job", "wait", "work", "--timeout", "60")
    answer = root.boxctl("manifest")
    files = {item["path"]: item for item in answer["files"]}
    model = files[f"elsewhere{place}/deep/model.bin"]
    assert model["size"] == 3 << 20
    assert model["sha256"] == hashlib.sha256((place / "deep" / "model.bin").read_bytes()).hexdigest()
    assert model["absolute"] == str(place / "deep" / "model.bin")
    assert "results/mine/table.csv" in files
    assert files["work/one.json"]["kind"] == "declared"
    # Nobody declared it, but it came after the set-up.
    assert files["work/two.txt"]["kind"] == "found"
    assert files["notes.md"]["reason"] == "keep: *.md"
    assert "logs/work.log" in files
    assert not any("loop" in name or "gone" in name or "socket" in name for name in files)
    assert answer["missing"] == [str(tmp_path / "missing")]


def test_status_is_cheap(root: Root, spec: Spec) -> None:
    for number in range(3):
        root.boxctl("service", "apply", f"s{number}", stdin=spec("exec sleep 1000", start_seconds=0))
        root.boxctl("job", "start", f"j{number}", stdin=spec("echo hello", key="1"))
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        root.boxctl("status")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < 0.3, costs  # seconds of CPU; 0.1 on a quiet machine


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_and_a_read_only_disk_are_said_in_words(own_root: Root, spec: Spec) -> None:
    own_root.boxctl("boot")
    jobs = own_root.path / "jobs"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(jobs)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        (jobs / "ballast").write_bytes(b"x" * (60 << 10))
        answer = own_root.boxctl("job", "start", "work", stdin=spec("exit 0", key="1" * 8192), code=1)
        assert "no space left" in answer["error"]
        assert "df -h" in answer["hint"]
        subprocess.run(["mount", "-o", "remount,ro", str(jobs)], check=True)
        assert "read-only" in own_root.boxctl("job", "start", "work", stdin=spec("exit 0", key="1"), code=1)["error"]
    finally:
        subprocess.run(["umount", str(jobs)], check=True)


@pytest.fixture
def small_disk(own_root: Root) -> Iterator[Path]:
    """The root's directory `supervisor` on a disk of 256 KiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = own_root.path / "supervisor"
    copy = shutil.copytree(place, own_root.path / "copy")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    shutil.copytree(copy, place, dirs_exist_ok=True)
    yield place
    while place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_everything_can_be_ended_on_a_full_disk(own_root: Root, small_disk: Path, spec: Spec) -> None:
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 1024)
    assert own_root.boxctl("shutdown") == {"services": ["web"], "jobs": [], "killed": [], "left": 0}
    # A login does not start it again.
    assert own_root.boxctl("boot", "--hook")["changed"] is False
    assert bearing(f"GPUBOX_ROOT={own_root.path}") == []


def test_everything_can_be_ended_on_a_read_only_disk(own_root: Root, small_disk: Path, spec: Spec) -> None:
    own_root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    # Over itself: the disk is busy, and what is open stays writable, as on one that the kernel has given up.
    for options in (["--bind", str(small_disk)], ["-o", "remount,bind,ro"]):
        subprocess.run(["mount", *options, str(small_disk)], check=True)
    assert own_root.boxctl("shutdown") == {"services": ["web"], "jobs": [], "killed": [], "left": 0}
    assert bearing(f"GPUBOX_ROOT={own_root.path}") == []


def test_a_job_s_end_is_kept_on_a_full_disk(root: Root, spec: Spec, tmp_path: Path) -> None:
    """The file size limit stands for the disk: the wrapper cannot write a new file, only into the old one."""
    import boxctl.files
    import boxctl.runjob

    (tmp_path / "state.json").write_text(json.dumps({"state": "running", "pid": 1, "ticks": 1}).ljust(300))

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxctl.files, "write_json", full)
        boxctl.runjob._write(tmp_path, {"state": "done", "exit_code": 0})
    assert json.loads((tmp_path / "state.json").read_text()) == {"state": "done", "exit_code": 0}


def test_usage_errors_are_json(root: Root) -> None:
    assert "invalid choice" in root.boxctl("stauts", code=2)["error"]
    outside = subprocess.run(
        [str(root.path / "controller/bin/python"), "-m", "boxctl", "status"],
        env={**os.environ, "GPUBOX_ROOT": "/nowhere", "PYTHONPATH": str(FILES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outside.returncode == 2
    assert "is no gpubox root" in json.loads(outside.stdout)["error"]


def test_status_without_supervisord(own_root: Root) -> None:
    began = time.monotonic()
    assert own_root.boxctl("status") == {"services": [], "jobs": [], "converge": None, "digest": None, "guard": None}
    assert time.monotonic() - began < 30
