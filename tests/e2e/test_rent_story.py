"""A box of AutoDL from the order to the receipt: the account is simulated, the box behind it is a real one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cli import wait_for
from e2e.test_plain_ansible import ansible, counts
from sim.autodl import TOKEN, Running, autodl
from sim.clock import SimClock
from sim.machines import RealMachine, RealMachines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

# No GPU is asked for: the box has none, and preflight would see that.
BOX_FILE = "provider: autodl\nautodl: {gpu_spec: 4090D}\nmax_price: 3\nguard: {ttl: 8h}\n"
ROOT = "/root/autodl-tmp/gpubox"


@pytest.fixture
def sim(boxes: BoxFactory, offline: Callable[..., Wishes]) -> Iterator[Running]:  # `boxes` skips where none can be made
    machines = RealMachines(**offline("controller"))
    with autodl(machines=machines, clock=SimClock(rate=1.0), creating_seconds=0.5, starting_seconds=0.5) as running:
        yield running


def box_of(sim: Running) -> TestBox:
    assert isinstance(sim.machines, RealMachines)
    (machine,) = sim.machines.boxes
    assert isinstance(machine, RealMachine)
    return machine.box


def restarted_in_the_console(sim: Running) -> None:
    """By a person, while gpubox knows nothing of it."""
    (one,) = sim.account.live()
    with sim.account.lock:
        sim.account.power_off(one.uuid)
    wait_for("the box to be off", lambda: sim.account.live()[0].status == "shutdown")
    with sim.account.lock:
        sim.account.power_on(one.uuid, None)
    wait_for("the box to be on", lambda: sim.account.live()[0].status == "running")


@contextmanager
def every_command_line() -> Iterator[set[bytes]]:
    """Whatever anybody on this machine has been started with meanwhile."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.add((process / "cmdline").read_bytes())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.timeout(1500)
def test_a_box_of_autodl_from_order_to_receipt(gpubox: Gpubox, sim: Running) -> None:
    gpubox.env.update(sim.environment)
    gpubox.box_file("mybox", BOX_FILE)
    passwords: set[str] = set()
    with every_command_line() as argv:
        up = gpubox("up", "mybox")
        passwords.add(box_of(sim).password)
        assert sim.server.count("create") == 1
        assert "pinned, key installed" in up.stderr
        (listed,) = gpubox.json("ls")
        assert (listed["state"], listed["price_per_hour"], listed["currency"]) == ("running", "1.88", "CNY")
        assert listed["guard_at"] is not None
        assert gpubox.json("up", "mybox")["changed"] is False

        # What a box without its GPU is prepared with leaves nothing to do on one that is up.
        prepared = ansible(gpubox, "-i", "inventories/gpubox.yml", "playbooks/prepare.yml", "--limit", "mybox")
        assert counts(prepared, "mybox")["changed"] == 0

        # Off and on: another port, another password, the same disk.
        off = gpubox.json("stop", "mybox", "--yes")
        assert off["off"]
        assert off["erase_at"] is not None
        assert sim.account.billing() == []
        gpubox("start", "mybox")
        passwords.add(box_of(sim).password)
        assert len(passwords) == 2

        # Restarted in AutoDL's console, each time on another port: whoever asks finds it.
        restarted_in_the_console(sim)
        assert gpubox("ssh", "mybox", "echo", "here").stdout == "here\n"
        passwords.add(box_of(sim).password)
        restarted_in_the_console(sim)
        assert "`mybox` answers at" in gpubox("status", "mybox").stderr
        assert "answers at" not in gpubox("status", "mybox").stderr
        passwords.add(box_of(sim).password)

        made = _some_work(box_of(sim))
        restarted_in_the_console(sim)
        passwords.add(box_of(sim).password)
        told = gpubox.json("down", "mybox", "--dry-run")
        assert any(file["path"] == "results/big.bin" for file in told["files"])
        assert any(file["absolute"] == "/root/autodl-tmp/notes.txt" for file in told["files"])
        assert (told["seen"], told["size"] > 8 << 20) == ("listed", True)

        # Killed in the middle of it: it still runs, and everybody knows.
        client = gpubox.start("down", "mybox", "--yes")
        gpubox.until(client, "… back up", "down", "mybox", "--yes")
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        assert len(sim.account.billing()) == 1
        gpubox("sweep")

        # Then its provider has a bad moment.
        sim.faults.restart().error("release")
        failed = gpubox("down", "mybox", "--yes", code=3)
        assert "gpubox down mybox" in failed.stderr
        assert "✓ verify what came home" in failed.stderr
        assert sim.account.billing() == []
        assert len(sim.account.live()) == 1
        gpubox("sweep")

        # No card is needed to end a box whose data is all at home.
        sim.faults.restart().no_stock()
        receipt = json.loads(gpubox("down", "mybox", "--yes", "--json").stdout)
    assert sim.server.count("power_on") == 1
    assert sim.account.live() == []
    assert gpubox.json("ls") == []
    assert gpubox.json("sweep")["boxes"] == []
    assert (receipt["released"], receipt["verified"], receipt["still_to_do"]) == (True, True, None)
    assert float(receipt["spent"]) > 0
    assert float(receipt["balance_after"]) < 100
    home = Path(receipt["backup"]) / "files"
    assert hashlib.sha256((home / "results/big.bin").read_bytes()).hexdigest() == made
    assert (home / "elsewhere/root/autodl-tmp/notes.txt").read_text() == "mine\n"
    assert {path.name for path in Path(receipt["results"]).iterdir()} == {"receipt.json", "receipt.txt"}
    _no_secret(gpubox, {TOKEN, *passwords}, argv)


def test_what_was_made_by_hand_on_a_box_that_never_converged(gpubox: Gpubox, boxes: BoxFactory) -> None:
    with autodl(machines=RealMachines(), clock=SimClock(rate=20.0)) as sim:
        gpubox.env.update(sim.environment)
        gpubox.box_file("mybox", BOX_FILE + "gpu: {name: RTX 4090 D}\n")
        failed = gpubox("up", "mybox", code=1).stderr
        assert "the box has no NVIDIA GPU" in failed
        assert "`mybox` runs on and bills 1.88 CNY per hour; `gpubox down mybox` ends that" in failed
        assert gpubox.json("down", "mybox", "--dry-run")["seen"] == "nothing"
        box = box_of(sim)
        # As after a move to another host: nobody but a person may say that this is right.
        box.change_host_key()
        assert "gpubox add mybox --accept-new-key" in gpubox("up", "mybox", code=4).stderr
        gpubox("add", "mybox", box.ssh_line, "--accept-new-key", "--yes", code=2)
        gpubox("add", "mybox", "--accept-new-key", "--yes")
        box.exec("mkdir -p /root/work /root/autodl-tmp/gpubox/x && touch /root/.hidden /root/autodl-tmp/gpubox/x/y")
        assert gpubox.json("down", "mybox", "--dry-run")["seen"] == "nothing"
        box.exec("echo mine > /root/work/notes.txt; echo mine > /root/autodl-tmp/more.txt")
        refused = gpubox("down", "mybox", "--yes", code=3)
        assert "2 files on it were written by hand" in refused.stderr
        assert "--discard" in refused.stderr
        assert len(sim.account.billing()) == 1
        gpubox("down", "mybox", "--yes", "--discard")
        assert sim.account.live() == []


def _some_work(box: TestBox) -> str:
    """A result and a file beside it; the SHA-256 of the result."""
    done = box.exec(
        f"head -c 9437184 /dev/urandom > {ROOT}/results/big.bin && echo mine > /root/autodl-tmp/notes.txt && "
        f"sha256sum < {ROOT}/results/big.bin"
    )
    return done.stdout.split()[0]


def _no_secret(gpubox: Gpubox, secrets: set[str], argv: set[bytes]) -> None:
    """Not in what was started, not in a log, not in the ledger, not in any other file."""
    assert len(argv) > 20
    for secret in (one.encode() for one in secrets):
        assert not [line for line in argv if secret in line]
        for path in gpubox.directory.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert secret not in path.read_bytes(), path
    private = gpubox.home / ".local/share/gpubox"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "ledger.sqlite3").stat().st_mode) == 0o600


def test_a_box_that_was_added_by_its_login_shuts_itself_down(gpubox: Gpubox, box: TestBox) -> None:
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    left = gpubox("stop", "mybox", "--yes")
    assert "gpubox stop mybox --power" in left.stderr
    assert box.is_on()
    told = gpubox.json("stop", "mybox", "--power", "--yes")
    box.wait_off(60)
    assert told["off"]
    assert "已关机" in told["still_to_do"]
    (listed,) = gpubox.json("ls")
    assert listed["state"] == "stopped"
    box.start()
    wait_for("the box", box.is_on)
    gpubox("add", "mybox", box.ssh_line)
    assert gpubox.json("ls")[0]["state"] == "running"


def test_another_machine_is_not_shut_down(gpubox: Gpubox, boxes: BoxFactory) -> None:
    box = boxes(hostname="workstation")
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    done = gpubox("stop", "mybox", "--power", "--yes", code=3)
    assert "no box of AutoDL" in done.stderr
    assert box.is_on()
