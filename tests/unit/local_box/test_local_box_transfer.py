"""Files and ports of a local box: scp in both modes, sftp, rsync, forwarding."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from free_ports import free_port
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .client import Client


@pytest.fixture(scope="module")
def payload(home: Path) -> Path:
    path = home / "payload"
    path.write_bytes(os.urandom(3_000_001))
    return path


@pytest.mark.parametrize("mode", ["-O", "-s"])
def test_scp_there_and_back_ends_with_zero(client: Client, payload: Path, mode: str) -> None:
    there = subprocess.run(client.command("scp", mode, "-q", str(payload), f"box:copy{mode}"), timeout=60, check=False)
    assert there.returncode == 0
    assert (client.box.home / f"copy{mode}").read_bytes() == payload.read_bytes()
    back = payload.with_name(f"back{mode}")
    home = subprocess.run(client.command("scp", mode, "-q", f"box:copy{mode}", str(back)), timeout=60, check=False)
    assert home.returncode == 0
    assert back.read_bytes() == payload.read_bytes()


def test_scp_of_a_missing_file_fails(client: Client, payload: Path) -> None:
    done = subprocess.run(
        client.command("scp", "box:no-such", str(payload) + ".no"), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert b"No such file" in done.stderr


def test_sftp_paths_are_relative_to_the_scratch_home(client: Client, payload: Path) -> None:
    batch = f"mkdir below\ncd below\nput {payload} one\nrename one two\nchmod 600 two\npwd\n"
    done = subprocess.run(
        client.command("sftp", "-q", "-b", "-", "box"),
        input=batch.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert str(client.box.home / "below").encode() in done.stdout
    assert (client.box.home / "below" / "two").stat().st_mode & 0o777 == 0o600
    assert (client.box.home / "below" / "two").read_bytes() == payload.read_bytes()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="there is no rsync on this machine")
def test_rsync_of_a_tree(client: Client, home: Path) -> None:
    tree = home / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "文件").write_text("内容")
    (tree / "link").symlink_to("deep")
    shell = f"ssh -F {client.config}"
    for _ in range(2):
        subprocess.run(["rsync", "-a", "-e", shell, f"{tree}/", "box:tree/"], timeout=60, check=True)
    assert (client.box.home / "tree" / "deep" / "er" / "文件").read_text() == "内容"
    assert (client.box.home / "tree" / "link").readlink().name == "deep"


def test_a_local_forward_carries_both_directions(client: Client) -> None:
    port = free_port()
    with _echo() as target:
        where = f"127.0.0.1:{port}:127.0.0.1:{target}"
        forward = subprocess.Popen(client.command("ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-L", where, "box"))
        try:
            until(lambda: _connects(port), "the forward listens")
            with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
                link.sendall(b"through the box")
                link.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: link.recv(4096), b"")) == b"THROUGH THE BOX"
        finally:
            forward.terminate()
            forward.wait(30)


@pytest.mark.parametrize(("address", "code"), [("127.0.0.1", 0), ("0.0.0.0", 255), ("*", 255)])
def test_remote_forwards_open_ports_on_loopback_only(client: Client, address: str, code: int) -> None:
    with _echo() as target:
        done = client.run("true", "-o", "ExitOnForwardFailure=yes", "-R", f"{address}:0:127.0.0.1:{target}")
    assert done.returncode == code, done.stderr


def test_the_server_listens_on_loopback_only(client: Client) -> None:
    import psutil

    listening = [c.laddr for c in psutil.Process(client.running.pid).net_connections("inet") if c.status == "LISTEN"]
    assert [tuple(address) for address in listening] == [("127.0.0.1", client.running.port)]


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _echo() -> Iterator[int]:
    """A server that answers with what it got, in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    data = b"".join(iter(lambda: link.recv(4096), b""))  # noqa: B023
                    link.sendall(data.upper())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join(30)
