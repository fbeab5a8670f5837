"""What goes wrong with rented boxes: each ends with a sentence, the right exit code and nothing lost."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from e2e.cli import wait_for

if TYPE_CHECKING:
    import subprocess

    from box.testbox import BoxFactory, TestBox
    from e2e.cli import Gpubox

# Base and supervisor only: quick, and everything about converging is in it.
PLAIN = "provider: attach\n"


@pytest.fixture
def added(gpubox: Gpubox, rented: TestBox) -> TestBox:
    """A box that is in the ledger, with a box file."""
    gpubox("add", "mybox", rented.ssh_line, "--yes", stdin=f"{rented.password}\n")
    gpubox.box_file("mybox", PLAIN)
    return rented


def said(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """An error of one screen: a sentence, no traceback, and the words that mend it."""
    assert "error: " in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def converging(box: TestBox) -> bool:
    return any("ansible-playbook" in line for line in box.processes())


def _interrupt_at(gpubox: Gpubox, step: str) -> None:
    client = gpubox.start("up", "mybox")
    wait_for(step, lambda: step in gpubox.stderr_of("up", "mybox") or client.poll() is not None)
    os.killpg(client.pid, signal.SIGINT)
    assert client.wait(timeout=60) in (0, 130)
    assert "Traceback" not in gpubox.stderr_of("up", "mybox")


class TestFirstContact:
    def test_wrong_password(self, gpubox: Gpubox, box: TestBox) -> None:
        done = gpubox("add", "mybox", box.ssh_line, "--yes", stdin="wrong\n", code=4)
        said(done, "password", "fix: ")
        assert gpubox.json("ls") == []

    def test_box_is_off(self, gpubox: Gpubox, box: TestBox) -> None:
        box.power_off()
        said(gpubox("add", "mybox", box.ssh_line, "--yes", stdin="x\n", code=5), str(box.port), "fix: ")

    def test_port_closed(self, gpubox: Gpubox) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        said(gpubox("add", "mybox", f"ssh -p {port} root@127.0.0.1", "--yes", stdin="x\n", code=5), "refused")

    def test_nobody_to_compare_the_fingerprint(self, gpubox: Gpubox, box: TestBox) -> None:
        said(gpubox("add", "mybox", box.ssh_line, stdin="x\n", code=3), "SHA256:", "--yes")

    def test_host_key_changed(self, gpubox: Gpubox, added: TestBox) -> None:
        added.change_host_key()
        for command in (("up", "mybox"), ("doctor", "mybox")):
            said(gpubox(*command, code=4), "SHA256:", "gpubox add mybox --accept-new-key")
        assert gpubox("ssh", "mybox", "true", code=None).returncode == 255
        gpubox("add", "mybox", "--accept-new-key", "--yes")
        gpubox("doctor", "mybox")


class TestConverge:
    def test_link_cut_for_a_minute(self, gpubox: Gpubox, added: TestBox) -> None:
        client = gpubox.start("up", "mybox")
        wait_for("the converge to begin", lambda: converging(added))
        added.cut()
        wait_for("the loss to be noticed", lambda: "trying again" in gpubox.stderr_of("up", "mybox"), timeout=60)
        wait_for("the box to go on alone", lambda: not converging(added))
        added.heal()
        assert client.wait(timeout=300) == 0, gpubox.stderr_of("up", "mybox")

    def test_connections_killed_again_and_again(self, gpubox: Gpubox, added: TestBox) -> None:
        client = gpubox.start("up", "mybox")
        wait_for("the converge to begin", lambda: converging(added))
        while client.poll() is None and converging(added):
            added.kill_connections()
        assert client.wait(timeout=300) == 0, gpubox.stderr_of("up", "mybox")

    def test_two_at_once_are_one_converge(self, gpubox: Gpubox, added: TestBox) -> None:
        clients = [gpubox.start("up", "mybox"), gpubox.start("up", "mybox", "--no-tunnel")]
        assert [client.wait(timeout=600) for client in clients] == [0, 0]
        runs = added.exec("ls -1 /root/autodl-tmp/gpubox/converge").stdout.split()
        assert len(runs) == 1

    def test_interrupt_at_every_step(self, gpubox: Gpubox, added: TestBox) -> None:
        for step in ("facts and preflight", "bundle", "controller environment", "converge"):
            _interrupt_at(gpubox, step)
        gpubox("up", "mybox")
        assert gpubox.json("up", "mybox")["changed"] is False

    def test_supervisord_killed(self, gpubox: Gpubox, added: TestBox) -> None:
        gpubox("up", "mybox")
        added.exec("kill -9 $(pgrep -f 'supervisord -n')")
        wait_for("supervisord to be back", lambda: gpubox("status", "mybox", code=None).returncode == 0, timeout=30)

    def test_a_changed_wish_is_converged(self, gpubox: Gpubox, added: TestBox) -> None:
        gpubox("up", "mybox")
        gpubox.box_file("mybox", PLAIN + "keep: [results/*]\n")
        assert gpubox.json("up", "mybox")["changed"] is True
        assert gpubox.json("up", "mybox")["changed"] is False


class TestDisk:
    def test_no_space(self, gpubox: Gpubox, boxes: BoxFactory) -> None:
        self._refused(gpubox, boxes(data_size=32 << 20), "space")

    def test_read_only(self, gpubox: Gpubox, boxes: BoxFactory) -> None:
        self._refused(gpubox, boxes(data_size=64 << 20, data_read_only=True), "data_dir")

    @staticmethod
    def _refused(gpubox: Gpubox, box: TestBox, word: str) -> None:
        gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
        gpubox.box_file("mybox", PLAIN + "data_dir: /root/autodl-tmp\n")
        assert word in gpubox("doctor", "mybox", code=1).stdout
        said(gpubox("up", "mybox", code=1), word, "fix: ")


def test_registry_out_of_reach(gpubox: Gpubox, box: TestBox) -> None:
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    gpubox.box_file("mybox", PLAIN + "python_env: {index_url: 'http://127.0.0.1:9/simple'}\n")
    said(gpubox("up", "mybox", code=1), "python_env.index_url")


def test_down_refuses_a_box_that_is_cut_off(gpubox: Gpubox, added: TestBox) -> None:
    gpubox("up", "mybox")
    added.power_off()
    said(gpubox("down", "mybox", "--yes", code=3), "lost", "--abandon-data")
    assert [item["name"] for item in gpubox.json("ls")] == ["mybox"]
    added.start()
    gpubox("start", "mybox")
    gpubox("down", "mybox", "--yes")
    assert gpubox.json("ls") == []


def test_engine_that_crashes_is_failed_with_its_words(gpubox: Gpubox, rented: TestBox) -> None:
    gpubox("add", "mybox", rented.ssh_line, "--yes", stdin=f"{rented.password}\n")
    rented.write("/root/autodl-tmp/broken/config.json", '{"architectures": ["NoSuchModel"]}')
    text = "provider: attach\nengine: vllm\nmodel: {source: path, path: /root/autodl-tmp/broken}\nvllm: {build: cpu}\n"
    gpubox.box_file("mybox", text)
    done = gpubox("up", "mybox", code=1)
    said(done, "role vllm", "gpubox logs mybox")
    (service,) = gpubox.json("status", "mybox")["services"]
    assert service["state"] == "failed"
    assert service["last_error"]
    assert service["last_error"] in gpubox("logs", "mybox", "vllm", "-n", "2000").stdout
