"""Tunnels with a real `ssh`: data flows, taken ports, lost and frozen links, and nothing left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from free_ports import free_port, free_run
from gpubox import paths
from gpubox.errors import AuthFailed, Failed, HostKeyChanged, Unreachable
from gpubox.remote import explain, ports, ssh_config, tunnel_files
from gpubox.remote.login import Endpoint, Login
from gpubox.remote.process import Process
from gpubox.remote.tunnel import Forward, OpenTunnel, list_tunnels, open_tunnels, stop_tunnels
from waits import until

from .server import USER, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .server import BoxServer

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _no_tunnel_stays(home: Path) -> Iterator[None]:
    yield
    stop_tunnels()


@pytest.fixture
def website() -> Iterator[int]:
    """The port of a program "on the box"."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"hello from {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    program = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=program.serve_forever, daemon=True).start()
    yield program.server_address[1]
    program.shutdown()
    program.server_close()


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def works(port: int) -> bool:
    try:
        return get(port) == "hello from /x"
    except OSError:
        return False


def state_of(tunnel: OpenTunnel) -> tunnel_files.State:
    state = tunnel_files.read_state(paths.box_dir(tunnel.name))
    assert state is not None
    return state


def opened(login: Login, *forwards: Forward, detach: bool = False) -> OpenTunnel:
    return open_tunnels(login, forwards, detach=detach, alive=(1, 1)).wait_connected(PATIENCE)


def test_data_flows_and_a_stop_leaves_nothing(login: Login, website: int) -> None:
    tunnel = opened(login, Forward(free_port(), website, "web"))
    assert get(tunnel.forwards[0].local_port) == "hello from /x"
    assert [(t.name, t.state, t.detached) for t in list_tunnels()] == [("demo", "connected", False)]
    assert tunnel.as_dict()["forwards"][0]["url"] == f"http://127.0.0.1:{tunnel.forwards[0].local_port}"
    state = state_of(tunnel)
    assert state.child is not None
    assert [stopped.name for stopped in stop_tunnels("demo")] == ["demo"]
    assert not state.daemon.alive()
    assert not state.child.alive()
    assert ports.is_free(tunnel.forwards[0].local_port)
    assert list_tunnels() == []
    assert sorted(path.name for path in paths.box_dir("demo").iterdir()) == ["known_hosts", "ssh_config", "tunnel.log"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_taken_port_gets_the_next_free_one(login: Login, website: int, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        taken = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with taken:
        port = taken.getsockname()[1]
        tunnel = opened(login, Forward(port, website, "web"))
        assert tunnel.forwards[0].local_port > port
        assert works(tunnel.forwards[0].local_port)


def test_one_whose_port_is_taken_does_not_take_the_port_of_the_next(login: Login, website: int) -> None:
    first = free_run(2)
    with socket.create_server(("127.0.0.1", first)):
        wishes = [Forward(first, website, "web"), Forward(first + 1, free_port(), "engine")]
        found = open_tunnels(login, wishes, detach=True).wait_connected(PATIENCE).forwards
    assert found[0].local_port > first + 1
    assert found[1].local_port == first + 1


def test_the_same_again_is_what_is_there(login: Login, website: int) -> None:
    wish = Forward(free_port(), website, "web")
    first, second = opened(login, wish), opened(login, wish)
    assert (first.pid, first.forwards, state_of(first).child) == (second.pid, second.forwards, state_of(second).child)


def test_one_more_forward_joins_the_same_daemon(login: Login, website: int) -> None:
    one, two = Forward(free_port(), website, "one"), Forward(free_port(), website + 1, "two")
    first = opened(login, one)
    second = opened(login, two, one)
    assert first.pid == second.pid
    assert [f.label for f in second.forwards] == ["two", "one"]
    assert second.forwards[1] == first.forwards[0]
    assert works(first.forwards[0].local_port)


def test_two_boxes_that_want_the_same_port(login: Login, website: int) -> None:
    wish = Forward(free_port(), website, "web")
    one, two = opened(login, wish), opened(dataclasses.replace(login, name="other"), wish)
    assert one.forwards[0].local_port != two.forwards[0].local_port
    assert works(one.forwards[0].local_port)
    assert works(two.forwards[0].local_port)
    stop_tunnels("demo")
    assert [tunnel.name for tunnel in list_tunnels()] == ["other"]
    assert works(two.forwards[0].local_port)


def test_a_killed_connection_comes_back_on_the_same_port(login: Login, website: int, server: BoxServer) -> None:
    tunnel = opened(login, Forward(free_port(), website, "web"))
    port = tunnel.forwards[0].local_port
    server.kill_connections()
    until(lambda: list_tunnels()[0].reconnects == 1)
    assert works(port)
    assert list_tunnels()[0].last_error


def test_a_frozen_link_is_found_and_replaced(login: Login, website: int, proxy: Proxy) -> None:
    # OpenSSH gives up after (count + 1) intervals.
    assert ssh_config.ALIVE_INTERVAL * (ssh_config.ALIVE_COUNT + 1) <= 15

    tunnel = opened(login, Forward(free_port(), website, "web"))
    proxy.freeze()
    until(lambda: list_tunnels()[0].state == "reconnecting")
    proxy.cut()
    proxy.thaw()
    assert tunnel.wait_connected(PATIENCE).reconnects == 1
    assert works(tunnel.forwards[0].local_port)


@contextlib.contextmanager
def stolen(tunnel: OpenTunnel) -> Iterator[None]:
    """The connection breaks, and before it is back a program of this machine has the tunnel's port."""
    state = state_of(tunnel)
    assert state.child is not None
    os.kill(state.daemon.pid, signal.SIGSTOP)
    try:
        os.kill(state.child.pid, signal.SIGKILL)
        # A zombie, until its parent goes on.
        until(lambda: ports.is_free(tunnel.forwards[0].local_port))
        thief = socket.create_server(("127.0.0.1", tunnel.forwards[0].local_port))
    finally:
        os.kill(state.daemon.pid, signal.SIGCONT)
    with thief:
        yield


def test_a_port_that_somebody_took_during_a_cut_is_named_and_taken_back(login: Login, website: int) -> None:
    tunnel = opened(login, Forward(free_port(), website, "web"), detach=True)
    port = tunnel.forwards[0].local_port
    with stolen(tunnel):
        until(lambda: f"port {port} of this machine was taken" in str(list_tunnels(login.name)[0].last_error))
    until(lambda: works(port))


def test_whoever_needs_the_tunnel_gets_another_port_than_the_stolen_one(login: Login, website: int) -> None:
    wish, other = Forward(free_run(4), website, "web", among=2), Forward(free_port(), website, "other")
    tunnel = opened(login, wish, other, detach=True)
    with stolen(tunnel):
        again = opened(login, wish, other)
        assert again.forwards == (dataclasses.replace(wish, local_port=wish.local_port + 1), other)
        assert all(works(forward.local_port) for forward in again.forwards)
        assert list_tunnels()[0].forwards == again.forwards
        with stolen(again), pytest.raises(Failed, match=f"every port from {wish.local_port} to .* is taken"):
            opened(login, wish)


def test_a_port_that_somebody_took_after_it_was_chosen(
    login: Login, website: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = free_run(2)
    with socket.create_server(("127.0.0.1", first)):
        with monkeypatch.context() as changed:
            changed.setattr(ports, "is_free", lambda _: True)
            tunnel = open_tunnels(login, [Forward(first, website, "web")], detach=True)
        assert tunnel.forwards[0].local_port == first
        assert tunnel.wait_connected(PATIENCE).forwards[0].local_port > first
        (found,) = list_tunnels()
        assert works(found.forwards[0].local_port)


def test_a_box_that_is_away_is_waited_for(login: Login, website: int, server: BoxServer) -> None:
    away = dataclasses.replace(login, endpoint=Endpoint("127.0.0.1", free_port(), USER))
    tunnel = open_tunnels(away, [Forward(free_port(), website, "web")], detach=False)
    with pytest.raises(Unreachable, match="the tunnel is not up after"):
        tunnel.wait_connected(0.1)
    until(lambda: "refuses connections" in (list_tunnels()[0].last_error or ""))
    # Its new address reaches the running daemon through the configuration file.
    ssh_config.write(login)
    tunnel.wait_connected(PATIENCE)
    assert works(tunnel.forwards[0].local_port)


def test_a_changed_host_key_ends_it(login: Login, website: int, server: BoxServer) -> None:
    server.change_host_key()
    tunnel = open_tunnels(login, [Forward(free_port(), website, "web")], detach=False)
    with pytest.raises(HostKeyChanged) as caught:
        tunnel.wait_connected(PATIENCE)
    assert explain.fingerprint(login.host_key) in caught.value.message
    assert explain.fingerprint(server.host_key) in caught.value.message
    assert "gpubox add demo --accept-new-key" in (caught.value.hint or "")
    assert [t.state for t in list_tunnels()] == ["failed"]
    until(lambda: Process.of(tunnel.pid) is None)


def test_a_refused_key_ends_it_and_the_next_open_starts_anew(login: Login, website: int, server: BoxServer) -> None:
    ours = server.authorized_keys.read_text()
    server.forget_keys()
    wish = Forward(free_port(), website, "web")
    with pytest.raises(AuthFailed, match="does not let `root` in"):
        open_tunnels(login, [wish], detach=False).wait_connected(PATIENCE)
    server.authorized_keys.write_text(ours)
    assert works(opened(login, wish).forwards[0].local_port)


OWNER = """
import sys, time
from pathlib import Path
from gpubox.remote.login import Endpoint, Login
from gpubox.remote.tunnel import Forward, open_tunnels
port, identity, host_key, local, remote, detach = sys.argv[1:]
login = Login("demo", Endpoint("127.0.0.1", int(port), "root"), Path(identity), host_key)
open_tunnels(login, [Forward(int(local), int(remote), "web")], detach=detach == "yes").wait_connected(60)
print("up", flush=True)
time.sleep(600)
"""


def owner(login: Login, website: int, *, detach: bool) -> subprocess.Popen[str]:
    arguments = [login.endpoint.port, login.identity_file, login.host_key, free_port(), website]
    argv = [sys.executable, "-c", OWNER, *map(str, arguments), "yes" if detach else "no"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_killed_owner_takes_its_tunnel_along(login: Login, website: int) -> None:
    process = owner(login, website, detach=False)
    tunnel = list_tunnels()[0]
    state = state_of(tunnel)
    kill(process)
    until(lambda: not state.daemon.alive())
    assert state.child is not None
    assert not state.child.alive()
    assert list_tunnels() == []


def test_a_detached_tunnel_outlives_its_opener(login: Login, website: int) -> None:
    kill(owner(login, website, detach=True))
    tunnel = list_tunnels()[0]
    assert tunnel.detached
    assert works(tunnel.forwards[0].local_port)


def test_a_second_owner_keeps_the_tunnel_of_the_first(login: Login, website: int) -> None:
    process = owner(login, website, detach=False)
    port = list_tunnels()[0].forwards[0].local_port
    mine = opened(login, Forward(port, website, "web"))
    kill(process)
    time.sleep(1.5)  # Three looks of the daemon at its owners.
    assert mine.wait_connected(PATIENCE).pid == mine.pid
    assert works(port)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_daemon_that_is_killed_hard_leaves_no_ssh(login: Login, website: int) -> None:
    tunnel = opened(login, Forward(free_port(), website, "web"))
    state = state_of(tunnel)
    os.kill(tunnel.pid, signal.SIGKILL)
    child = state.child
    assert child is not None
    until(lambda: not child.alive())
    assert list_tunnels() == []
    assert works(opened(login, tunnel.forwards[0]).forwards[0].local_port)


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(login: Login) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    now = Process.of(bystander.pid)
    assert now is not None
    Process(bystander.pid, now.started + "0").end(0.1)
    assert bystander.poll() is None
    now.end(30)
    assert bystander.wait(30) == -signal.SIGTERM


def test_secrets_and_files_are_private(login: Login, website: int) -> None:
    opened(login, Forward(free_port(), website, "web"))
    for path in paths.box_dir("demo").iterdir():
        if path.name != tunnel_files.LOG:
            assert path.stat().st_mode & 0o077 == 0, path
