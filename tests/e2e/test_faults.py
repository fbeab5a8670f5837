"""What goes wrong with rented boxes: each ends with a sentence, the right exit code and nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from e2e.cli import wait_for
from e2e.conftest import PLAIN, adopt

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox
    from e2e.conftest import Converged

ROOT = "/root/autodl-tmp/gpubox"
BOXCTL = f"{ROOT}/bin/boxctl"
NO_INDEX = "http://127.0.0.1:9/simple"
SERVING = "provider: attach\nengine: vllm\nmodel: small-gpt\nvllm: {build: cpu}\n"
STEPS = ("facts and preflight", "bundle", "controller environment", "converge")


def said(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """An error of one screen: a sentence, no traceback, and the words that mend it."""
    assert "error: " in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def converging(box: TestBox) -> bool:
    return any("ansible-playbook" in line for line in box.processes())


def hit(gpubox: Gpubox, sign: signal.Signals, step: str, *args: str) -> None:
    """Run a command and end it with a signal, as a terminal does, in the middle of `step`."""
    client = gpubox.start(*args)
    gpubox.until(client, f"… {step}", *args)
    os.killpg(client.pid, sign)
    code, words = client.wait(timeout=60), gpubox.stderr_of(*args)
    assert "Traceback" not in words
    if sign == signal.SIGINT:
        assert code == 130, f"{step}: {words}"
        assert "interrupted; what runs on a box goes on there" in words
    else:
        assert code == -sign


def when_full(box: TestBox, condition: str) -> None:
    """Have the box fill its data disk as soon as the shell command `condition` succeeds there."""
    fill = f"dd if=/dev/zero of={box.data_dir}/fill bs=64k"
    box.exec(f"setsid sh -c 'until {condition}; do sleep 0.01; done; {fill}' </dev/null >/dev/null 2>&1 &")


def serve(box: TestBox, name: str, *argv: str, port: int | None = None) -> None:
    """A light service, started as the roles start theirs."""
    spec = json.dumps({"argv": argv, "port": port, "start_seconds": 1, "stop_seconds": 5})
    done = box.exec(f"{BOXCTL} service apply {name}", stdin=spec.encode())
    assert done.exit_code == 0, done.stdout + done.stderr


def taken_down(gpubox: Gpubox, box: TestBox) -> None:
    """`down` leaves nothing running, and has brought home what there was."""
    receipt = json.loads(gpubox("down", "mybox", "--yes", "--json").stdout)
    assert (receipt["verified"], receipt["processes_left"]) == (True, 0)
    assert not [line for line in box.processes() if "supervisord" in line or "keeper" in line or "boxctl" in line]
    assert gpubox.json("ls") == []


class TestFirstContact:
    def test_a_wrong_password_is_said(self, gpubox: Gpubox, box: TestBox) -> None:
        done = gpubox("add", "mybox", box.ssh_line, "--yes", stdin="wrong\n", code=4)
        said(done, "this password", "fix: ")
        assert gpubox.json("ls") == []

    def test_a_box_that_is_off_is_out_of_reach(self, gpubox: Gpubox, box: TestBox) -> None:
        box.power_off()
        said(gpubox("add", "mybox", box.ssh_line, "--yes", stdin="x\n", code=5), str(box.port), "fix: ")

    def test_a_closed_port_is_said(self, gpubox: Gpubox) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        done = gpubox("add", "mybox", f"ssh -p {port} root@127.0.0.1", "--yes", stdin="x\n", code=5)
        said(done, f"refuses connections to port {port}", "fix: ")

    def test_nothing_is_pinned_when_nobody_can_compare_the_fingerprint(self, gpubox: Gpubox, box: TestBox) -> None:
        said(gpubox("add", "mybox", box.ssh_line, stdin="x\n", code=3), "SHA256:", "--yes")
        assert gpubox.json("ls") == []

    def test_a_changed_host_key_stops_everything_until_it_is_accepted(self, gpubox: Gpubox, added: TestBox) -> None:
        added.change_host_key()
        for command in (("up", "mybox"), ("doctor", "mybox")):
            said(gpubox(*command, code=4), "SHA256:", "gpubox add mybox --accept-new-key")
        assert gpubox("ssh", "mybox", "true", code=None).returncode == 255
        gpubox("add", "mybox", "--accept-new-key", "--yes")
        gpubox("doctor", "mybox")


class TestLink:
    def test_a_link_that_is_cut_is_found_again(self, gpubox: Gpubox, added: TestBox) -> None:
        client = gpubox.start("up", "mybox")
        gpubox.until(client, "preflight: Compare", "up", "mybox")
        added.cut()
        look = gpubox.start("status", "mybox")
        gpubox.until(client, "trying again", "up", "mybox")
        wait_for("the box to go on alone", lambda: not converging(added))
        assert look.wait(timeout=120) == 5
        assert "fix: " in gpubox.stderr_of("status", "mybox")
        added.heal()
        assert client.wait(timeout=300) == 0, gpubox.stderr_of("up", "mybox")

    def test_a_connection_that_drops_at_every_step(self, gpubox: Gpubox, added: TestBox) -> None:
        client = gpubox.start("up", "mybox")
        for step in STEPS:
            gpubox.until(client, f"… {step}", "up", "mybox")
            added.kill_connections()
        while client.poll() is None and converging(added):
            added.kill_connections()
        assert client.wait(timeout=300) == 0, gpubox.stderr_of("up", "mybox")


class TestInterruptions:
    def test_ctrl_c_and_kill_at_every_step(self, gpubox: Gpubox, added: TestBox) -> None:
        for step in STEPS:
            for sign in (signal.SIGINT, signal.SIGKILL):
                hit(gpubox, sign, step, "up", "mybox")
        assert "✓ converge" in gpubox("watch", "mybox").stderr
        gpubox("up", "mybox")
        assert gpubox.json("up", "mybox")["changed"] is False
        assert len(added.exec(f"ls -1A {ROOT}/bundles").stdout.split()) == 1
        assert len(added.exec(f"ls -1A {ROOT}/converge").stdout.split()) == 1

    def test_two_ups_are_one_converge_and_whoever_wants_something_else_is_refused(
        self, gpubox: Gpubox, added: TestBox
    ) -> None:
        ups = [gpubox.start("up", "mybox"), gpubox.start("up", "mybox", "--no-tunnel")]
        gpubox.until(ups[0], "… controller environment", "up", "mybox")
        for command in (("down", "mybox", "--yes"), ("stop", "mybox", "--yes"), ("add", "mybox", added.ssh_line)):
            done = gpubox(*command, code=3)
            said(done, "is working on the box `mybox`", "gpubox watch mybox")
            assert any(f"process {up.pid} " in done.stderr for up in ups)
        assert [up.wait(timeout=300) for up in ups] == [0, 0]
        assert len(added.exec(f"ls -1 {ROOT}/converge").stdout.split()) == 1

        down = gpubox.start("down", "mybox", "--yes")
        gpubox.until(down, "… back up", "down", "mybox", "--yes")
        os.killpg(down.pid, signal.SIGSTOP)
        said(gpubox("up", "mybox", code=3), f"process {down.pid} is working on the box")
        os.killpg(down.pid, signal.SIGCONT)
        assert down.wait(timeout=300) == 0
        assert gpubox.json("ls") == []

    def test_a_local_box_is_powered_on_again_and_down_survives_interruptions(self, gpubox: Gpubox) -> None:
        gpubox.box_file("mine", "provider: local\n")
        gpubox("up", "mine")
        (place,) = _local_boxes(gpubox)
        # As a reboot of this machine does: the ledger knows nothing of it.
        os.kill(json.loads((place / "server.json").read_text())["pid"], signal.SIGKILL)
        assert gpubox.json("up", "mine")["changed"] is False

        results = "cd ~/gpubox-data/gpubox/results && seq 1 2000000 | tee big.csv | sha256sum"
        made = gpubox("ssh", "mine", results).stdout
        steps = ("what exists only on the box", "stop everything", "back up", "verify what came home")
        for step in (*steps, "give the box back"):
            for sign in (signal.SIGINT, signal.SIGKILL):
                hit(gpubox, sign, step, "down", "mine", "--yes")
                assert [item["name"] for item in gpubox.json("ls")] == ["mine"]
        receipt = json.loads(gpubox("down", "mine", "--yes", "--json").stdout)
        assert (receipt["released"], receipt["processes_left"]) == (True, 0)
        assert gpubox.json("ls") == []
        assert not place.exists()
        homes = list(gpubox.directory.glob("gpubox-backups/mine/*/files/results/big.csv"))
        assert homes
        assert {_sha256(path) for path in homes} == {made.split()[0]}

    def test_a_box_that_is_gone_is_said_and_taken_off_the_ledger(self, gpubox: Gpubox) -> None:
        gpubox.box_file("mine", "provider: local\n")
        hit(gpubox, signal.SIGINT, "facts and preflight", "up", "mine")
        gpubox("stop", "mine", "--yes")
        (place,) = _local_boxes(gpubox)
        shutil.rmtree(place)
        said(gpubox("up", "mine", code=1), "`local` no longer has the box `mine`", "gpubox down mine")
        assert json.loads(gpubox("down", "mine", "--yes", "--json").stdout)["released"] is True
        assert gpubox.json("ls") == []


class TestBoxThatIsUp:
    """On a box that is up, and stays so."""

    def test_nothing_to_do_is_said(self, converged: Converged) -> None:
        assert converged.gpubox.json("up", "mybox")["changed"] is False

    def test_a_changed_wish_is_converged(self, converged: Converged) -> None:
        gpubox = converged.gpubox
        gpubox.box_file("mybox", PLAIN + "keep: [results/*]\n")
        assert gpubox.json("up", "mybox")["changed"] is True
        assert gpubox.json("up", "mybox")["changed"] is False

    def test_a_failing_role_is_named_and_up_mends_it_once_the_cause_is_gone(self, converged: Converged) -> None:
        gpubox, box = converged
        box.exec(f"rm -rf {ROOT}/results && echo 'not a directory' > {ROOT}/results")
        done = gpubox("up", "mybox", "--full", code=1)
        said(done, "role base, task `", f"{ROOT}/results", "gpubox logs mybox converge", "gpubox up mybox")
        assert "✓ converge" not in done.stderr
        assert gpubox.json("status", "mybox")["converge"]["state"] == "failed"
        said(gpubox("watch", "mybox", code=1), f"{ROOT}/results")
        assert f"{ROOT}/results" in gpubox("logs", "mybox").stdout
        # It is not called fresh although no wish has changed.
        box.exec(f"rm {ROOT}/results")
        assert gpubox.json("up", "mybox")["changed"] is True
        assert gpubox.json("up", "mybox")["changed"] is False

    def test_a_killed_supervisord_comes_back_with_its_services(self, converged: Converged) -> None:
        gpubox, box = converged
        serve(box, "web", "python3", "-m", "http.server", "--bind", "127.0.0.1", "8123", port=8123)
        wait_for("the service", lambda: _service(gpubox, "web")["state"] == "running")
        before = _service(gpubox, "web")["pid"]
        box.exec(f"kill -9 $(cat {ROOT}/supervisor/supervisord.pid)")
        back = "curl -fsS -o /dev/null http://127.0.0.1:8123/"
        wait_for("a new service", lambda: _service(gpubox, "web")["pid"] not in (before, None), timeout=60)
        wait_for("its answer", lambda: box.exec(back).exit_code == 0, timeout=60)
        assert len([line for line in box.processes() if "http.server" in line and "boxctl" not in line]) == 1
        gpubox("start", "mybox")
        box.exec(f"{BOXCTL} service remove web")

    def test_a_service_that_crashes_again_and_again_has_failed_with_its_words(self, converged: Converged) -> None:
        gpubox, box = converged
        serve(box, "crasher", "sh", "-c", "echo loading; sleep 0.2; echo 'error: no such model' >&2; exit 3")
        wait_for("the verdict", lambda: _service(gpubox, "crasher")["state"] == "failed", timeout=60)
        service = _service(gpubox, "crasher")
        assert (service["last_error"], service["exit_code"]) == ("error: no such model", 3)
        shown = gpubox("status", "mybox").stdout
        assert "failed" in shown
        assert "error: no such model" in shown
        said(gpubox("start", "mybox", code=1), "crasher: error: no such model", "gpubox logs mybox crasher")
        assert "error: no such model" in gpubox("logs", "mybox", "crasher").stdout
        box.exec(f"{BOXCTL} service remove crasher")
        gpubox("start", "mybox")

    def test_a_log_that_is_not_there_is_said(self, converged: Converged) -> None:
        said(converged.gpubox("logs", "mybox", "nosuch", code=1), "there is no log of `nosuch`", "there is: ")

    def test_a_registry_out_of_reach_during_the_converge_names_what_to_set(self, converged: Converged) -> None:
        gpubox = converged.gpubox
        gpubox.box_file("mybox", SERVING + f"python_env: {{index_url: '{NO_INDEX}'}}\n")
        done = gpubox("up", "mybox", code=1)
        said(done, "role python_env", "the package index cannot be reached", NO_INDEX, "`python_env.index_url`")
        failed = {job["name"]: job["last_error"] for job in gpubox.json("status", "mybox")["jobs"]}
        assert "the package index cannot be reached" in failed["converge"]
        gpubox.box_file("mybox", PLAIN)
        assert gpubox.json("up", "mybox")["changed"] is True


class TestDisk:
    def test_a_data_disk_without_space_is_refused(self, gpubox: Gpubox, boxes: BoxFactory) -> None:
        self._refused(gpubox, boxes(data_size=32 << 20), "space")

    def test_a_read_only_data_disk_is_refused(self, gpubox: Gpubox, boxes: BoxFactory) -> None:
        self._refused(gpubox, boxes(data_size=64 << 20, data_read_only=True), "data_dir")

    def test_a_disk_that_fills_up_meanwhile(
        self, gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes]
    ) -> None:
        wishes = offline("controller")
        wishes["data_size"] = 640 << 20
        box = adopt(gpubox, boxes(**wishes))
        when_full(box, f"test -e {ROOT}/controller/bin/uv")
        said(gpubox("up", "mybox", code=1), "no space left", "df -h")
        box.exec(f"rm {box.data_dir}/fill")
        gpubox("up", "mybox")

        gpubox.box_file("mybox", PLAIN + "keep: [results/*]\n")
        when_full(box, f"test $(ls {ROOT}/converge | wc -l) -ge 2")
        done = gpubox("up", "mybox", code=1)
        said(done, "o space left on", "gpubox ssh mybox df -h")
        assert "✓ converge" not in done.stderr
        gpubox("status", "mybox")
        box.exec(f"rm {box.data_dir}/fill")
        assert gpubox.json("up", "mybox")["changed"] is True
        assert gpubox.json("up", "mybox")["changed"] is False

        # A full disk keeps nobody from leaving.
        box.exec(f"dd if=/dev/zero of={box.data_dir}/fill bs=64k")
        taken_down(gpubox, box)

    @staticmethod
    def _refused(gpubox: Gpubox, box: TestBox, word: str) -> None:
        adopt(gpubox, box)
        gpubox.box_file("mybox", PLAIN + "data_dir: /root/autodl-tmp\n")
        assert word in gpubox("doctor", "mybox", code=1).stdout
        said(gpubox("up", "mybox", code=1), word, "fix: ")


@pytest.mark.parametrize("index", [NO_INDEX, None])
def test_a_registry_out_of_reach_names_what_to_set(gpubox: Gpubox, box: TestBox, index: str | None) -> None:
    adopt(gpubox, box)
    if index:
        gpubox.box_file("mybox", PLAIN + f"python_env: {{index_url: '{index}'}}\n")
    done = gpubox("up", "mybox", code=1)
    said(done, f"package index {index or '(the default one)'} cannot be reached: ", "python_env.index_url")
    assert "Retrying" not in done.stderr.split("error: ")[-1]


def test_down_refuses_a_box_that_is_cut_off(gpubox: Gpubox, added: TestBox) -> None:
    gpubox("up", "mybox")
    added.power_off()
    said(gpubox("down", "mybox", "--yes", code=3), "lost", "--discard")
    assert [item["name"] for item in gpubox.json("ls")] == ["mybox"]
    added.start()
    gpubox("start", "mybox")
    # A disk that the kernel has given up: what is open stays writable.
    added.exec(f"mount --bind {added.data_dir} {added.data_dir} && mount -o remount,bind,ro {added.data_dir}")
    said(gpubox("up", "mybox", "--full", code=1), "ead-only", "data_dir")
    taken_down(gpubox, added)


def test_an_engine_that_crashes_is_failed_with_its_words(gpubox: Gpubox, rented: TestBox) -> None:
    adopt(gpubox, rented)
    rented.write("/root/autodl-tmp/broken/config.json", '{"architectures": ["NoSuchModel"]}')
    text = "provider: attach\nengine: vllm\nmodel: {source: path, path: /root/autodl-tmp/broken}\nvllm: {build: cpu}\n"
    gpubox.box_file("mybox", text)
    done = gpubox("up", "mybox", code=1)
    words = "Unrecognized model in /root/autodl-tmp/broken"
    said(done, "role vllm", "service `vllm` has failed", words, "(exit code 1)", "gpubox logs mybox vllm")
    service = _service(gpubox, "vllm")
    assert service["exit_code"] == 1
    assert words in str(service["last_error"])
    assert str(service["last_error"]) in gpubox("logs", "mybox", "vllm", "-n", "2000").stdout
    assert service["state"] == "failed"
    assert words in gpubox("status", "mybox").stdout


def _service(gpubox: Gpubox, name: str) -> dict[str, object]:
    services: list[dict[str, object]] = gpubox.json("status", "mybox")["services"]
    return next(item for item in services if item["name"] == name)


def _local_boxes(gpubox: Gpubox) -> list[Path]:
    return list((gpubox.home / ".local/share/gpubox/local-boxes").glob("gpubox-mine-*"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
