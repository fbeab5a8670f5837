"""Powering a local box off and on, and taking it away: nothing may stay behind, nothing else may be hit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from gpubox.errors import Failed, Refused, Unreachable
from gpubox.providers.local_box import disk, launch, processes, server
from gpubox.providers.local_box.layout import MARKER, BoxDir
from waits import until

from .client import Client, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Ways to leave a program behind that a power-off must still find; each writes the pid it leaves to the file `left`.
LEFT_BEHIND = {
    "background": "sh -c 'echo $$ > left; exec sleep 600' > /dev/null 2>&1 < /dev/null & sleep 0.5",
    "daemon": "setsid sh -c 'echo $$ > left; exec sleep 600' > /dev/null 2>&1 < /dev/null & sleep 0.5",
    "deaf": "setsid sh -c 'trap \"\" TERM HUP; echo $$ > left; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &",
    "no environment": "setsid env -i /bin/sh -c 'echo $$ > left; exec sleep 600' > /dev/null 2>&1 < /dev/null &",
    "no environment, elsewhere, but in a session of the box": (
        "setsid sh -c 'env -i /bin/sh -c \"echo \\$\\$ > left; cd /; exec sleep 600\" & wait' >/dev/null 2>&1 <&1 &"
    ),
    "an environment of its own, as a service manager gives it": (
        "setsid env -i PATH=/usr/bin:/bin HOME=$HOME sh -c 'echo $$ > left; cd /; exec sleep 600' >/dev/null 2>&1 <&1 &"
    ),
    "no environment, but a file of the box on its command line": (
        "setsid env -i /bin/sh -c 'echo $$ > left; cd /; while sleep 1; do :; done' \"$HOME/x\" >/dev/null 2>&1 <&1 &"
    ),
    "stopped": "setsid sh -c 'echo $$ > left; kill -STOP $$' > /dev/null 2>&1 < /dev/null &",
}


@pytest.mark.parametrize("way", LEFT_BEHIND)
@pytest.mark.parametrize("fate", ["alive", "killed"])
def test_power_off_ends_what_outlived_its_session(new_box: Callable[[str], Client], way: str, fate: str) -> None:
    client = new_box("left")
    left = client.box.home / "left"
    left.unlink(missing_ok=True)
    assert client.run(LEFT_BEHIND[way]).returncode == 0
    until(lambda: left.exists() and left.read_text().strip().isdigit(), "the program started")
    orphan = psutil.Process(int(left.read_text()))
    assert orphan.is_running(), "it survived the end of its session"
    if fate == "killed":
        os.kill(client.running.pid, signal.SIGKILL)
        until(lambda: not processes.is_server(client.box, client.running.pid, client.running.created), "server gone")
    assert processes.end_all(client.box, grace=1.0) >= 1
    assert processes.members(client.box) == []
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert not processes.is_server(client.box, client.running.pid, client.running.created)


def test_power_off_leaves_others_alone(new_box: Callable[[str], Client]) -> None:
    mine, other = new_box("mine"), new_box("other")
    # A person who looks into the box's directory in their own shell.
    shell = subprocess.Popen(["sleep", "600"], cwd=mine.box.home)
    try:
        processes.end_all(mine.box)
        assert shell.poll() is None
        assert other.run("true").returncode == 0
    finally:
        shell.kill()
        shell.wait(30)


def test_power_off_from_inside_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKER, client.box.id)
    with pytest.raises(Refused, match="inside"):
        processes.end_all(client.box)
    assert client.run("true").returncode == 0


def test_a_pid_in_use_again_is_not_taken_for_the_server(client: Client) -> None:
    assert processes.is_server(client.box, client.running.pid, client.running.created)
    assert not processes.is_server(client.box, client.running.pid, client.running.created - 60)
    assert not processes.is_server(client.box, os.getpid(), psutil.Process().create_time())


def test_power_on_keeps_disk_password_host_key_and_port(new_box: Callable[[str], Client], home: Path) -> None:
    client = new_box("cycle")
    client.run("echo kept > file")
    processes.end_all(client.box)
    assert client.run("true").returncode == 255
    assert disk.prepare(client.box, "cycle", os.environ) == client.identity
    again = launch.start(client.box)
    assert (again.port, again.host_key) == (client.running.port, client.running.host_key)
    assert client.run("cat file").stdout == b"kept\n"


def test_a_taken_port_is_replaced(new_box: Callable[[str], Client], home: Path) -> None:
    client = new_box("taken")
    processes.end_all(client.box)
    with socket.create_server(("127.0.0.1", client.running.port)):
        again = launch.start(client.box)
    assert again.port != client.running.port
    assert connect(client.box, client.identity, again, home).run("echo there").stdout == b"there\n"


def test_a_second_server_of_one_box_does_not_start(new_box: Callable[[str], Client]) -> None:
    client = new_box("twice")
    with pytest.raises(Failed, match="already"):
        launch.start(client.box)
    assert client.run("true").returncode == 0


def test_a_server_that_cannot_start_says_why(new_box: Callable[[str], Client]) -> None:
    client = new_box("broken")
    processes.end_all(client.box)
    client.box.host_key_file.write_text("not a key")
    with pytest.raises(Failed, match="did not start") as caught:
        launch.start(client.box)
    assert str(client.box.log_file) in f"{caught.value.where} {caught.value.hint}"
    assert processes.members(client.box) == []


def test_a_server_that_does_not_listen_in_time_is_ended(
    new_box: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = new_box("slow")
    processes.end_all(client.box)
    lazy = tmp_path / "python"
    lazy.write_text("#!/bin/sh\nsleep 600\n")
    lazy.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(lazy))
    with pytest.raises(Unreachable, match="did not listen"):
        launch.start(client.box, timeout=0.5)
    assert processes.members(client.box) == []


def test_the_disk_is_removed_with_read_only_parts_and_nothing_else(
    new_box: Callable[[str], Client], tmp_path: Path
) -> None:
    client = new_box("away")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    outside.chmod(0o500)
    client.run(f"mkdir -p a/b; echo x > a/b/c; chmod 400 a/b/c; chmod 500 a/b; chmod 000 a; ln -s {outside} out")
    processes.end_all(client.box)
    disk.remove(client.box)
    assert not client.box.path.exists()
    assert not client.box.tmp_link.is_symlink()
    assert (outside / "kept").read_text() == "kept"
    assert outside.stat().st_mode & 0o777 == 0o500
    disk.remove(client.box)  # once more: nothing to do


def test_a_box_without_its_files_is_still_found_and_removed(new_box: Callable[[str], Client]) -> None:
    client = new_box("rotten")
    client.box.identity_file.write_text("{")
    client.box.running_file.unlink()
    assert processes.end_all(client.box) >= 1
    disk.remove(client.box)
    assert not client.box.path.exists()


def test_secrets_of_a_box_are_private(client: Client) -> None:
    pip_conf = client.box.home / ".config" / "pip" / "pip.conf"
    for path in (client.box.identity_file, client.box.environment_file, client.box.host_key_file, pip_conf):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert client.box.path.stat().st_mode & 0o777 == 0o700
    everything = " ".join(argument for p in processes.members(client.box) for argument in p.cmdline())
    assert client.identity.password not in everything
    assert client.identity.password not in client.box.log_file.read_text()
    assert client.identity.password not in repr(client.identity)


def test_no_room_is_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "box.json")

    monkeypatch.setattr(disk, "write_private", full)
    box = BoxDir(home / "data" / "local-boxes" / "full")
    with pytest.raises(Failed, match="No space left") as caught:
        disk.prepare(box, "full", os.environ)
    assert "GPUBOX_HOME" in str(caught.value.hint)
    disk.remove(box)


def test_a_server_without_its_directory_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_STILL_THERE_S", 0.01)
    box = BoxDir(home / "data" / "local-boxes" / "deleted")
    disk.prepare(box, "deleted", os.environ)

    async def watch() -> bool:
        ended = asyncio.Event()
        watching = asyncio.create_task(server._watch(box, ended))
        await asyncio.sleep(0.05)
        assert not watching.done()
        disk.remove(box)
        await asyncio.wait_for(watching, 30)
        return ended.is_set()

    assert asyncio.run(watch())
    assert "is gone" in caplog.text
