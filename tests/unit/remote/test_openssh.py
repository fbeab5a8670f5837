"""What only a real sshd does, and the configuration that a real `ssh` gets."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from free_ports import free_port
from gpubox import paths
from gpubox.errors import LinkLost, Unreachable
from gpubox.remote import connect, liveness
from gpubox.remote.host import Host
from gpubox.remote.login import Endpoint, Login
from gpubox.remote.process import Process
from gpubox.remote.ssh_config import ssh_argv
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .server import BoxServer

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@pytest.fixture
def sshd(tmp_path: Path, identity: Path) -> Iterator[Login]:
    """A real sshd of this user on loopback."""
    if SSHD is None:
        pytest.skip("no sshd on this machine")
    key = tmp_path / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    port = free_port()
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {identity}.pub\nPermitRootLogin yes\n"
    )
    # Where sshd separates its privileges when root starts it; packages make it at boot, containers have no boot.
    empty = Path("/run/sshd")
    made = os.geteuid() == 0 and not empty.exists()
    if made:
        empty.mkdir()
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True)
    assert server.stderr
    said = server.stderr.readline()
    if "listening" not in said.lower():
        server.kill()
        pytest.skip(f"sshd does not run here: {said.strip()}")
    user = pwd.getpwuid(os.geteuid()).pw_name
    host_key = " ".join(key.with_name("host_key.pub").read_text().split()[:2])
    yield Login("real", Endpoint("127.0.0.1", port, user), identity, host_key)
    server.terminate()
    server.communicate()
    if made:
        empty.rmdir()


def test_a_child_that_keeps_stdout_open_does_not_hold_the_command(sshd: Login) -> None:
    with Host(sshd) as box:
        begun = time.monotonic()
        child = int(box.run("sleep 600 & echo $!").stdout)
        assert time.monotonic() - begun < 60
        os.kill(child, signal.SIGTERM)


def test_a_run_that_takes_too_long_is_ended(sshd: Login, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Host(sshd) as box:
        with pytest.raises(Unreachable, match="was told to stop"):
            box.run(f"echo $$ >{mark}; exec sleep 600", timeout=3)
        pid = int(mark.read_text())
        until(lambda: Process.of(pid) is None)


def test_a_frozen_sshd_is_found(sshd: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "watch_liveness", lambda t: liveness.watch_liveness(t, interval=0.2, silence=0.9))
    with Host(sshd) as box:
        frozen = int(box.run("echo $PPID").stdout)
        try:
            os.kill(frozen, signal.SIGSTOP)
            with pytest.raises(LinkLost):
                box.run("sleep 600", timeout=600)
        finally:
            os.kill(frozen, signal.SIGCONT)


def test_the_configuration_is_strict_and_private(login: Login) -> None:
    told = subprocess.run(
        ["ssh", "-G", *ssh_argv(login, batch=True)[1:]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    directory = paths.box_dir("demo")
    for line in (
        "stricthostkeychecking true",
        "hostkeyalias gpubox-demo",
        f"userknownhostsfile {directory}/known_hosts",
        "globalknownhostsfile /dev/null",
        "updatehostkeys false",
        "identitiesonly yes",
        "batchmode yes",
        "forwardagent no",
        f"identityfile {login.identity_file}",
        f"port {login.endpoint.port}",
    ):
        assert line in told, line
    for name in ("known_hosts", "ssh_config"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600


def test_a_home_with_a_space_and_a_percent_sign(
    login: Login, server: BoxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "my 100% home"
    odd.mkdir()
    key = odd / "key"
    shutil.copy(login.identity_file, key)
    monkeypatch.setenv("GPUBOX_HOME", str(odd))
    argv = ssh_argv(dataclasses.replace(login, identity_file=key), "echo", "in", batch=True)
    told = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("in\n", "")
