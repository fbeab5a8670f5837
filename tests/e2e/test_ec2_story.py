"""A box from EC2: the instance is moto's, the machine behind it is a real box that is logged in to as `ubuntu`."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from e2e.cli import wait_for
from gpubox.boxfile.models import BoxFile
from gpubox.ledger import BoxRecord
from gpubox.paths import content
from gpubox.providers import Order
from gpubox.providers.ec2 import Ec2Provider
from sim.ec2 import REGION, Aws, aws, moto_server, raw
from sim.machines import RealMachine, RealMachines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

# No GPU is asked for: the box has none, and preflight would see that.
BOX_FILE = """
provider: ec2
ec2: {instance_type: g5.xlarge, disk_gib: 50}
"""


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def cloud(moto: str, boxes: BoxFactory, offline: Callable[..., Wishes]) -> Iterator[Aws]:  # `boxes` skips without any
    with aws(moto, RealMachines(**offline("controller"))) as cloud:
        cloud.app.user = "ubuntu"
        yield cloud


def machine(cloud: Aws) -> RealMachine:
    (behind,) = cloud.app.behind.values()
    assert isinstance(behind.machine, RealMachine)
    return behind.machine


def owner_of_the_keeper(cloud: Aws) -> str:
    command = "ps -o user= -p $(cat /home/ubuntu/gpubox-data/gpubox/supervisor/keeper.pid)"
    return machine(cloud).box.exec(command).stdout.strip()


@pytest.mark.timeout(1500)
def test_a_box_of_ec2_from_order_to_release(gpubox: Gpubox, cloud: Aws) -> None:
    gpubox.env.update(cloud.environment)
    gpubox.box_file("cloudy", BOX_FILE)
    up = gpubox("up", "cloudy")
    (instance,) = cloud.instances()
    assert cloud.server.count("RunInstances") == 1
    assert "host key pinned" in up.stderr
    (seen,) = gpubox.json("ls")
    assert (seen["name"], seen["provider"], seen["state"]) == ("cloudy", "ec2", "running")
    # It was converged by the user of the image, who is not root; the guard that came with it tells that of the order.
    assert owner_of_the_keeper(cloud) == "ubuntu"
    assert int(machine(cloud).box.read("/var/lib/gpubox/guard")) > time.time()
    assert gpubox.json("up", "cloudy")["changed"] is False

    # Off and on again: another address, the same disk and host key.
    gpubox("stop", "cloudy", "--yes")
    assert [one["State"]["Name"] for one in cloud.instances()] == ["stopped"]
    before = machine(cloud).port
    gpubox("start", "cloudy")
    assert machine(cloud).port != before
    assert gpubox.json("up", "cloudy")["changed"] is False

    # Somebody restarts it in AWS's console, so that it answers elsewhere.
    console = raw(cloud.server.url)
    console.stop_instances(InstanceIds=[instance["InstanceId"]])
    console.start_instances(InstanceIds=[instance["InstanceId"]])
    wait_for("what runs on it to come back by itself", lambda: owner_of_the_keeper(cloud) == "ubuntu", timeout=120)
    gpubox("up", "cloudy")
    assert gpubox.json("up", "cloudy")["changed"] is False

    secret = cloud.environment["AWS_SECRET_ACCESS_KEY"]
    behind = machine(cloud)
    # The person is somewhere else by now: AWS's firewall lets nobody in from there, until it is told.
    behind.box.cut()
    cloud.app.address = "198.51.100.9"
    cloud.faults.restart().act("AuthorizeSecurityGroupIngress", behind.box.heal)
    down = gpubox("down", "cloudy", "--yes")
    assert "its security group now admits this machine's address" in down.stderr
    assert "✓ verify what came home" in down.stderr
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])
    assert behind.destroyed
    assert gpubox.json("ls") == []
    assert instance["InstanceId"] not in cloud.app.behind
    assert not [path for path in gpubox.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(("section", "state"), [({}, "stopped"), ({"spot": True}, "gone")], ids=["stop", "spot"])
def test_the_guard_that_goes_in_with_the_order(
    cloud: Aws, monkeypatch: pytest.MonkeyPatch, section: dict[str, object], state: str
) -> None:
    """Nobody ever logs in: the box goes off by itself, and what that ends is what the box file says."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    ec2 = Ec2Provider()
    box = BoxFile.model_validate({"provider": "ec2", "gpu": {"name": "A10G"}, "ec2": section})
    ref = ec2.create(Order("gpubox-guarded-0001", box, power_off_after=timedelta(seconds=2)))
    assert ref.startswith(REGION)
    now = datetime.now(UTC)
    record = BoxRecord(name="guarded", provider="ec2", provider_ref=ref, created_at=now, updated_at=now)
    wait_for("the box to go off", lambda: ec2.state(record) == state, timeout=120)
    ec2.release(record)
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_the_full_guard_of_a_user_who_is_not_root_asks_sudo(box: TestBox) -> None:
    """Images of EC2 let their user become root without a password; the user itself may not power the box off."""
    command = yaml.safe_load((content() / "roles/guard/defaults/main.yml").read_text())["guard_power_off"][-1]
    box.exec("useradd --create-home ubuntu")
    box.write("/usr/local/bin/sudo", '#!/bin/sh\nprintf %s "$*" >/tmp/asked\n', mode=0o755)
    done = box.exec(f"runuser -l ubuntu -c {shlex.quote(command)}")
    assert done.exit_code == 0, done.stderr
    assert box.read("/tmp/asked").strip() == "-n shutdown -h now"
    assert box.is_on()
