"""The way through a jump host: an `ssh -W` behind a socket."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Unreachable
from gpubox.remote import ssh_config
from gpubox.remote.host import Host
from gpubox.remote.jump import JumpSocket, jump, jump_argv
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.remote.login import Login

# OpenSSH looks for the person's files in the home of passwd, not in $HOME: a test would need theirs. This stands in.
FAKE_SSH = """#!{python}
import os, pathlib, socket, sys, threading
target = sys.argv[sys.argv.index("-W") + 1]
pathlib.Path(sys.argv[0] + ".argv").write_text(" ".join(sys.argv[1:]))
if sys.argv[-1] == "ssh://broken":
    sys.exit("ssh: connect to host broken port 22: No route to host")
host, _, port = target.rpartition(":")
there = socket.create_connection((host, int(port)))
def copy_in():
    while data := os.read(0, 65536):
        there.sendall(data)
    os._exit(0)
threading.Thread(target=copy_in, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def through(login: Login, jump: str) -> Login:
    return dataclasses.replace(login, endpoint=dataclasses.replace(login.endpoint, proxy_jump=jump))


def test_commands_run_through_a_jump_host_and_its_ssh_ends(
    login: Login, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[JumpSocket] = []

    def noting(endpoint: Endpoint) -> JumpSocket:
        made.append(jump(endpoint))
        return made[-1]

    monkeypatch.setattr("gpubox.remote.connect.jump", noting)
    with Host(through(login, "me@gate:2222")) as host:
        assert host.run("echo through").stdout == "through\n"
    assert made[0].proxy.poll() is not None
    assert fake_ssh.with_name("ssh.argv").read_text().endswith(f"-W 127.0.0.1:{login.endpoint.port} ssh://me@gate:2222")


def test_a_jump_host_that_is_away_is_named(login: Login, fake_ssh: Path) -> None:
    with Host(through(login, "broken")) as host, pytest.raises(Unreachable) as caught:
        host.run("true")
    assert "through `broken`: ssh: connect to host broken port 22: No route to host" in caught.value.message


def test_many_threads_may_close_it_at_once(fake_ssh: Path) -> None:
    sock = jump(Endpoint("127.0.0.1", 9, proxy_jump="broken"))
    sock.proxy.wait(30)
    together = threading.Barrier(8)

    def close() -> str:
        together.wait(30)
        return sock.last_words()

    with ThreadPoolExecutor(8) as pool:
        said = {future.result(30) for future in [pool.submit(close) for _ in range(8)]}
    assert said == {"ssh: connect to host broken port 22: No route to host"}


def test_several_hops_and_addresses() -> None:
    endpoint = Endpoint("2001:db8::7", 2200, "root", "a,ssh://b@c:3,d:4")
    assert jump_argv(endpoint)[-5:] == ["-J", "a,ssh://b@c:3", "-W", "[2001:db8::7]:2200", "ssh://d:4"]


def test_the_openssh_children_take_the_same_way(login: Login) -> None:
    text = ssh_config.write(through(login, "me@gate")).read_text()
    assert (
        f"ProxyCommand ssh -o BatchMode=yes -o ConnectTimeout=10 -W 127.0.0.1:{login.endpoint.port} ssh://me@gate"
        in text
    )
