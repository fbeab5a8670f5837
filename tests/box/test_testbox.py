"""The test boxes themselves: like a rented box where it matters, quick, and gone without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

from box.testbox import Bind, TestBox, cgroup
from box.testbox.isolation import scratch_root
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import BoxFactory

_TESTS = Path(__file__).resolve().parents[1]


def _login(box: TestBox, *, password: str | None = None) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    kind, key = box.host_key.split()
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"[{box.host}]:{box.port} {kind} {key}")
    assert entry is not None
    assert entry.key is not None
    client.get_host_keys().add(f"[{box.host}]:{box.port}", kind, entry.key)
    client.connect(
        box.host,
        box.port,
        box.user,
        password or box.password,
        allow_agent=False,
        look_for_keys=False,
        timeout=30,
        banner_timeout=30,
        auth_timeout=30,
    )
    return client


@pytest.fixture
def client(box: TestBox) -> Iterator[paramiko.SSHClient]:
    with _login(box) as client:
        yield client


def _run(client: paramiko.SSHClient, command: str) -> tuple[int, str]:
    _, out, err = client.exec_command(command, timeout=60)
    text = out.read().decode() + err.read().decode()
    return out.channel.recv_exit_status(), text


def test_root_logs_in_with_the_password(box: TestBox, client: paramiko.SSHClient) -> None:
    assert _run(client, "hostname; id -u; pwd") == (0, f"{box.hostname}\n0\n/root\n")
    # sshd sees a client address, as behind a provider's gateway.
    assert _run(client, "echo ${SSH_CONNECTION%% *}")[1] == "127.0.0.1\n"


def test_another_password_is_refused(box: TestBox) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        _login(box, password="not " + box.password)


def test_conda_is_on_the_path_of_interactive_shells_only(client: paramiko.SSHClient) -> None:
    assert "miniconda3" not in _run(client, "echo $PATH")[1]
    assert "miniconda3" not in _run(client, "bash -lc 'echo $PATH'")[1]
    assert "/root/miniconda3/bin:" in _run(client, "bash -ic 'echo $PATH' 2>/dev/null")[1]
    assert _run(client, "/root/miniconda3/bin/python -V")[0] == 0


def test_a_terminal_works(client: paramiko.SSHClient) -> None:
    _, out, _ = client.exec_command("tty && stty size", get_pty=True, timeout=30)
    assert out.read().decode().split() == ["/dev/pts/0", "24", "80"]


def test_there_is_no_systemd_and_proc_shows_the_machine(client: paramiko.SSHClient) -> None:
    assert _run(client, "cat /proc/1/comm")[1] == "bash\n"
    assert _run(client, "command -v systemctl")[0] != 0
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert _run(client, "grep MemTotal /proc/meminfo")[1].strip() == total


def test_it_has_only_a_loopback_interface(client: paramiko.SSHClient) -> None:
    assert _run(client, "ls /sys/class/net")[1].split() == ["lo"]
    assert _run(client, "ip -br address show lo | grep -c '127.0.0.1/8 ::1/128'")[1] == "1\n"
    # What listens on this machine's loopback is not reachable from the box.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _run(client, f"curl -s -m 5 http://127.0.0.1:{port}/")[0] == 7


def test_a_full_data_disk_says_so(boxes: BoxFactory) -> None:
    box = boxes(data_size=8 << 20)
    done = box.exec("head -c 9M /dev/zero > /root/autodl-tmp/big")
    assert done.exit_code != 0
    assert "No space left on device" in done.stderr
    assert box.exec("head -c 9M /dev/zero > /root/big").exit_code == 0


def test_a_data_disk_can_be_read_only(boxes: BoxFactory) -> None:
    box = boxes(data_read_only=True)
    assert "Read-only file system" in box.exec("touch /root/autodl-tmp/x").stderr


def test_files_of_this_machine_can_be_bound(boxes: BoxFactory, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a.whl").write_text("a")
    (tmp_path / "shared").mkdir()
    box = boxes(
        binds=(
            Bind(str(tmp_path / "wheels"), "/opt/wheelhouse"),
            Bind(str(tmp_path / "shared"), "/opt/shared", writable=True),
        ),
        files={"/etc/pip.conf": "[global]\nno-index = true\n"},
    )
    assert box.read("/opt/wheelhouse/a.whl") == "a"
    assert "Read-only" in box.exec("touch /opt/wheelhouse/b").stderr
    assert box.exec("echo b > /opt/shared/b").exit_code == 0
    assert (tmp_path / "shared/b").read_text() == "b\n"
    assert box.read("/etc/pip.conf").endswith("no-index = true\n")


def test_limits_of_memory_and_cpu_are_seen_and_held(boxes: BoxFactory) -> None:
    if reason := cgroup.unavailable():
        pytest.skip(reason)
    box = boxes(memory=256 << 20, cpus=1.5)
    with _login(box) as client:
        seen = _run(client, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null")[1]
        assert seen.split() == [str(256 << 20)]
        quota = _run(client, "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null")[1]
        assert quota.split()[0] == "150000"
        code, _ = _run(client, "python3 -c 'x = bytearray(400 << 20)'")
    assert code in {-1, 137}  # killed by the kernel
    box.power_cycle()
    assert box.is_on()


def test_a_power_cycle_keeps_the_disks_and_runs_the_boot_hooks(boxes: BoxFactory) -> None:
    box = boxes(data_size=8 << 20)
    box.write("/root/autodl-tmp/data", "kept")
    box.write("/root/system", "kept too")
    box.write("/etc/profile.d/hook.sh", "echo boot >> /root/boots\n(setsid sleep 1234 &)\n")
    box.write("/etc/autodl.sh", "echo autodl >> /root/boots\n")
    key, port = box.host_key, box.port
    box.exec("setsid sleep 4321 >/dev/null 2>&1 &")
    box.power_cycle()
    assert (box.host_key, box.port) == (key, port)
    assert box.read("/root/autodl-tmp/data") == "kept"
    assert box.read("/root/system") == "kept too"
    assert "sleep 4321" not in box.processes()
    # In the background, and first `setsid`.
    until(lambda: "sleep 1234" in box.processes(), "the boot hook")
    box.power_cycle(new_port=True, new_password="fresh one")
    assert box.port != port
    assert box.read("/root/boots").split().count("boot") == 2
    with _login(box, password="fresh one") as client:
        assert _run(client, "true")[0] == 0


def test_a_box_that_is_off_refuses_connections(box: TestBox) -> None:
    box.power_off()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((box.host, box.port), timeout=10)
    assert not box.is_on()


def test_shutdown_drops_the_session_and_powers_off(box: TestBox, client: paramiko.SSHClient) -> None:
    _, out, _ = client.exec_command("shutdown; sleep 100", timeout=30)
    assert out.channel.recv_exit_status() == -1
    box.wait_off()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((box.host, box.port), timeout=10)
    # No shebang, as on AutoDL: exec without a shell fails.
    box.start()
    done = box.exec('python3 -c \'import os; os.execv("/usr/bin/shutdown", ["shutdown"])\'')
    assert "Exec format error" in done.stderr


def test_killed_connections_end_but_detached_work_goes_on(box: TestBox, client: paramiko.SSHClient) -> None:
    _, out, _ = client.exec_command("setsid sleep 777 >/dev/null 2>&1 & echo on; sleep 888", timeout=60)
    assert out.readline() == "on\n"
    # The shell has started it; that it is `setsid` no more takes a moment.
    until(lambda: "sleep 777" in box.processes(), "it is detached")
    assert box.kill_connections() == 1
    transport = client.get_transport()
    assert transport is not None
    transport.join(30)
    assert not transport.is_active()
    assert "sleep 777" in box.processes()
    with _login(box) as again:
        assert _run(again, "echo back")[1] == "back\n"


def test_a_cut_line_is_silent_and_delivers_when_healed(box: TestBox, client: paramiko.SSHClient) -> None:
    stdin, out, _ = client.exec_command("for i in 1 2 3; do read x; echo got $x; done", timeout=60)
    box.cut()
    stdin.write(b"one\ntwo\nthree\n")
    stdin.flush()
    out.channel.settimeout(1.0)
    with pytest.raises(TimeoutError):
        out.channel.recv(100)
    with socket.create_connection((box.host, box.port), timeout=10) as fresh:
        fresh.settimeout(1.0)
        with pytest.raises(TimeoutError):
            fresh.recv(100)
        box.heal()
        fresh.settimeout(30)
        assert fresh.recv(4) == b"SSH-"
    out.channel.settimeout(30)
    assert out.read().decode() == "got one\ngot two\ngot three\n"


def test_a_cut_can_heal_by_itself(box: TestBox) -> None:
    box.cut(0.5)
    with _login(box) as client:
        assert _run(client, "true")[0] == 0


def test_another_host_key(box: TestBox) -> None:
    old = box.host_key
    assert box.change_host_key() != old
    with _login(box):
        pass
    box.host_key = old
    with pytest.raises(paramiko.BadHostKeyException):
        _login(box)


def test_ten_at_once(boxes: BoxFactory) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        ten = list(pool.map(lambda _: boxes(), range(10)))
    took = time.monotonic() - began
    assert len({box.port for box in ten}) == 10
    assert len({box.exec("hostname").stdout for box in ten}) == 10
    assert took < 60  # a few seconds on an idle machine; docs/testing.md has the figures


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(what: str, condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _make_box_elsewhere() -> tuple[subprocess.Popen[str], int, str, list[int]]:
    """Another python makes a box and waits: its process, the warden's pid, the box's name, the pids in the box."""
    program = (
        "import os, sys, time\n"
        "from box.testbox import TestBox\n"
        "box = TestBox(data_size=8 << 20).start()\n"
        "box.exec('setsid sleep 31337 >/dev/null 2>&1 &')\n"
        "print(box.child.pid, box.name, flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
    )
    assert process.stdout is not None
    warden, name = process.stdout.readline().split()
    return process, int(warden), name, _below(int(warden))


def _below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [deep for child in children for deep in _below(int(child))]


@pytest.mark.parametrize("how", ["test process killed", "warden killed"])
def test_a_killed_test_leaves_nothing(boxes: BoxFactory, how: str) -> None:
    process, warden, name, inside = _make_box_elsewhere()
    try:
        assert len(inside) >= 3  # unshare, PID 1, its sleep
        os.kill(process.pid if how == "test process killed" else warden, signal.SIGKILL)
        _until("a process of the box outlived its owner", lambda: not any(_alive(pid) for pid in [warden, *inside]))
        if how == "test process killed":
            _until("the disk was left", lambda: not (scratch_root() / name).exists())
        else:
            assert (scratch_root() / name).exists()
            assert name in boxes().swept
        assert not (scratch_root() / name).exists()
        assert not (scratch_root() / f"{name}.lock").exists()
        assert name not in Path("/proc/self/mountinfo").read_text()
    finally:
        process.kill()
        process.communicate()


def test_a_destroyed_box_leaves_nothing(boxes: BoxFactory) -> None:
    box = TestBox(data_size=8 << 20, memory=None if cgroup.unavailable() else 256 << 20).start()
    inside, name = _below(box.child.pid), box.name
    threads = threading.active_count()
    box.destroy()
    assert not any(_alive(pid) for pid in inside)
    assert not list(scratch_root().glob(f"{name}*"))
    assert not [path for path in Path("/sys/fs/cgroup").rglob(name) if path.is_dir()]
    assert threading.active_count() < threads
