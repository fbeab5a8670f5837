"""Commands, terminals and logins on a local box, with the clients that people and gpubox use: OpenSSH and paramiko."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import paramiko
import psutil
import pytest

from waits import until

from .client import SECRET, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20


def test_exit_status_output_and_errors_come_back_apart(client: Client) -> None:
    done = client.run("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_command_ended_by_a_signal_is_reported_as_such(client: Client) -> None:
    assert client.run("kill -9 $$").returncode == 255  # what OpenSSH makes of `exit-signal`
    with _paramiko(client) as ssh:
        _, stdout, _ = ssh.exec_command("kill -9 $$")
        assert stdout.channel.recv_exit_status() == -1


def test_a_command_that_does_not_read_its_input_still_ends(client: Client) -> None:
    done = client.run("echo early", stdin=b"x" * (3 * MIB))
    assert (done.returncode, done.stdout) == (0, b"early\n")


def test_a_hundred_megabytes_arrive_whole_both_ways(client: Client) -> None:
    block = os.urandom(MIB)
    out = subprocess.Popen(
        client.command("ssh", "box", "head -c 104857600 /dev/zero; printf end"), stdout=subprocess.PIPE
    )
    assert out.stdout is not None
    received = hashlib.sha256()
    for chunk in iter(lambda: out.stdout.read(MIB), b""):  # type: ignore[union-attr]
        received.update(chunk)
    assert out.wait(60) == 0
    assert received.hexdigest() == hashlib.sha256(bytes(104857600) + b"end").hexdigest()

    into = subprocess.Popen(client.command("ssh", "box", "sha256sum"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert into.stdin is not None
    for _ in range(100):
        into.stdin.write(block)
    answer, _ = into.communicate(timeout=60)
    assert answer.split()[0].decode() == hashlib.sha256(block * 100).hexdigest()


def test_sessions_see_a_small_environment_and_nothing_of_the_caller(client: Client) -> None:
    shown = dict(line.split("=", 1) for line in client.run("env").stdout.decode().splitlines())
    assert SECRET not in shown.values()
    assert psutil.Process(client.running.pid).environ().get("MY_CLOUD_TOKEN") is None
    assert shown["HOME"] == shown["PWD"] == str(client.box.home)
    assert shown["https_proxy"] == "http://proxy.test:3128"
    assert shown["GPUBOX_LOCAL_BOX"] == client.box.id
    assert shown["USER"] == shown["LOGNAME"] == "root"
    assert (client.box.tmp).samefile(shown["TMPDIR"])
    assert len(shown["TMPDIR"]) <= 60


def test_login_and_command_shells_have_a_usable_python(client: Client) -> None:
    check = "python3 -c 'import sys, venv; assert sys.version_info >= (3, 11); assert sys.prefix == sys.base_prefix'"
    for command in (check, f'bash -lc "{check}"'):
        done = client.run(command)
        assert done.returncode == 0, done.stderr


def test_sigint_ends_a_command_as_it_should(client: Client) -> None:
    done = client.run("sh -c 'kill -INT $$; echo ignored'; echo $?")
    assert done.stdout == b"130\n"


def test_a_lost_client_breaks_the_pipe_and_the_command_does_not_block(client: Client) -> None:
    ssh = subprocess.Popen(
        client.command("ssh", "box", "echo $$; trap 'echo gone > broken; exit' PIPE; yes; echo gone > broken"),
        stdout=subprocess.PIPE,
    )
    assert ssh.stdout is not None
    assert ssh.stdout.readline().strip().isdigit()
    ssh.kill()
    ssh.wait(30)
    ssh.stdout.close()
    until((client.box.home / "broken").exists, "`yes` met a broken pipe")


def test_password_login(client: Client) -> None:
    with _paramiko(client) as ssh:
        _, stdout, _ = ssh.exec_command("echo in")
        assert stdout.read() == b"in\n"


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("admin", None)])
def test_wrong_logins_are_refused(client: Client, user: str, password: str | None) -> None:
    with pytest.raises(paramiko.AuthenticationException), _paramiko(client, user=user, password=password):
        pass


def test_a_key_opens_only_the_box_users_door(client: Client) -> None:
    done = client.run("true", "-l", "admin")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr


def test_a_damaged_authorized_keys_leaves_the_password(client: Client) -> None:
    kept = client.box.authorized_keys.read_text()
    try:
        client.box.authorized_keys.write_text("not a key\n")
        assert client.run("true").returncode == 255
        with _paramiko(client):
            pass
        client.box.authorized_keys.write_text(kept)
        assert client.run("true").returncode == 0  # read anew at each login
    finally:
        client.box.authorized_keys.write_text(kept)


def test_ctrl_c_reaches_the_program_in_the_terminal(client: Client) -> None:
    with _terminal(client, "trap 'echo stopped; exit 7' INT; echo ready; while :; do sleep 0.1; done") as (fd, end):
        _expect(fd, b"ready")
        os.write(fd, b"\x03")
        _expect(fd, b"stopped")
        assert end() == 7


def test_a_changed_window_size_reaches_the_program(client: Client) -> None:
    with _terminal(client, "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done") as (fd, end):
        _expect(fd, b"ready")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 123, 0, 0))
        _expect(fd, b"41 123")
        assert end() == 0


def test_a_shell_takes_what_is_typed_and_more_than_a_terminal_queue_holds(client: Client) -> None:
    with _terminal(client) as (fd, end):
        os.write(fd, b"stty -echo; echo rea''dy\n")
        _expect(fd, b"ready")
        for _ in range(40):
            os.write(fd, b"sleep 0.01 # " + b"x" * 200 + b"\n")
        os.write(fd, b"echo d''one; exit 5\n")
        _expect(fd, b"done")
        assert end() == 5


def test_all_output_of_a_terminal_session_arrives(client: Client) -> None:
    with _terminal(client, "seq 1 20000; printf end-of-output") as (fd, end):
        assert b"19999\r\n20000\r\n" in _expect(fd, b"end-of-output")
        assert end() == 0


def test_a_lost_terminal_hangs_up_its_programs(client: Client) -> None:
    command = "trap 'echo hup > hung-up; exit' HUP; echo ready; while :; do sleep 0.1; done"
    with _terminal(client, command) as (fd, _):
        _expect(fd, b"ready")
    until((client.box.home / "hung-up").exists, "the shell got its SIGHUP")


@contextlib.contextmanager
def _paramiko(client: Client, *, user: str = "root", password: str | None = None) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as ssh:
        kind, key = client.running.host_key.split()
        ssh.get_host_keys().add(
            f"[127.0.0.1]:{client.running.port}", kind, paramiko.PKey.from_type_string(kind, _decoded(key))
        )
        ssh.connect(
            "127.0.0.1",
            client.running.port,
            user,
            password or client.identity.password,
            allow_agent=False,
            look_for_keys=False,
            timeout=60,
            auth_timeout=60,
            banner_timeout=60,
        )
        yield ssh


def _decoded(key: str) -> bytes:
    import base64

    return base64.b64decode(key)


@contextlib.contextmanager
def _terminal(client: Client, *command: str) -> Iterator[tuple[int, Callable[[], int]]]:
    """`ssh -tt` on a terminal of its own: what it reads and shows, and a function that waits for its exit code."""
    argv = client.command("ssh", "-tt", "box", *command)
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    ended: list[int] = []

    def end() -> int:
        with contextlib.suppress(OSError):  # EIO: the client has closed the terminal
            while os.read(fd, 65536):
                pass
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return ended[0]

    try:
        yield fd, end
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)


def _expect(fd: int, wanted: bytes) -> bytes:
    """Read until `wanted` was shown; pytest's own timeout ends a wait in vain."""
    seen = b""
    while wanted not in seen:
        try:
            seen += os.read(fd, 65536)
        except OSError:
            pytest.fail(f"the terminal closed before {wanted!r} came: {seen[-500:]!r}")
    return seen
