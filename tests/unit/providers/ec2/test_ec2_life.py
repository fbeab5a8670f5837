"""EC2 from order to release, against a real moto server."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import CannotStop, Failed, NoStock, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import Order
from gpubox.releasing import give_back
from gpubox.remote.identity import ensure_identity, public_key
from sim.ec2 import ADDRESS, PAPER_KEY, REGION, Aws
from sim.machines import PaperMachine

from .world import ORDER, box, quiet, record

if TYPE_CHECKING:
    from gpubox.providers.ec2 import Ec2Provider


def test_the_whole_life_of_a_box(ec2: Ec2Provider, cloud: Aws) -> None:
    assert ec2.find(ORDER) is None
    ref = ec2.create(Order(ORDER, box()))
    (instance,) = cloud.instances()
    assert ref == f"{REGION}/{instance['InstanceId']}"
    assert ec2.find(ORDER) == ref
    behind = cloud.app.behind[instance["InstanceId"]].machine
    assert isinstance(behind, PaperMachine)

    said: list[str] = []
    rented = ec2.ready(record(ref), said.append)
    assert (rented.ref, rented.endpoint.host, rented.endpoint.port) == (ref, "127.0.0.1", behind.port)
    assert rented.endpoint.user == "ubuntu"
    assert rented.host_key == PAPER_KEY
    assert rented.identity_installed
    assert rented.password is None
    assert any("SSH server" in words for words in said)  # It booted for three seconds.
    # g5.xlarge 1.006, 200 GiB of gp3 at 0.08 a month of 730 hours, an address at 0.005.
    assert rented.price is not None
    assert rented.price.per_hour == Decimal("1.0329")
    assert rented.price.stopped_per_hour == Decimal("0.0219")
    assert rented.price.currency == "USD"
    assert ec2.state(record(ref)) == "running"

    ec2.power_off(record(ref))
    assert ec2.state(record(ref)) == "stopped"
    ec2.power_off(record(ref))  # Nothing to do.
    (shown,) = ec2.alive()
    assert (shown.ref, shown.name, shown.state, shown.billing) == (ref, ORDER, "stopped", True)
    assert (shown.gpu, shown.gpu_count, shown.region) == ("A10G", 1, REGION)

    ec2.power_on(record(ref))
    again = ec2.ready(record(ref, host_key=PAPER_KEY), quiet)
    assert again.endpoint.port == behind.port != rented.endpoint.port
    assert cloud.server.count("GetConsoleOutput") == 1  # A host key that is pinned is not asked for again.

    ec2.release(record(ref))
    assert ec2.state(record(ref)) == "gone"
    assert ec2.find(ORDER) is None
    assert ec2.alive() == []
    assert behind.destroyed
    assert cloud.groups() == []
    assert cloud.key_pairs() == []
    assert cloud.client.describe_volumes()["Volumes"] == []
    ec2.release(record(ref))  # Again is safe.


def test_what_is_asked_of_aws(ec2: Ec2Provider, cloud: Aws) -> None:
    ec2.create(Order(ORDER, box(disk_gib=300), power_off_after=timedelta(hours=8)))
    (instance,) = cloud.instances()
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert tags["Name"] == ORDER
    assert instance["InstanceType"] == "g5.xlarge"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["KeyName"] == ORDER
    (volume,) = cloud.client.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"]) == (300, "gp3")
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"]
    image = cloud.client.describe_images(ImageIds=[instance["ImageId"]])["Images"][0]
    assert image["CreationDate"].startswith("2026-09-18")  # The newer one of two.
    asked = next(call for call in cloud.server.calls if call.operation == "RunInstances").parameters
    assert asked["ClientToken"] == ORDER
    assert asked["InstanceInitiatedShutdownBehavior"] == "stop"
    given = cloud.app.behind[instance["InstanceId"]]
    assert "sleep 28800" in given.user_data
    assert given.public_key == public_key(ensure_identity())


def test_the_image_that_aws_publishes_is_taken(ec2: Ec2Provider, cloud: Aws) -> None:
    older = next(
        image["ImageId"]
        for image in cloud.client.describe_images(Owners=["amazon"])["Images"]
        if image["CreationDate"].startswith("2026-06-16")
    )
    name = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
    cloud.app.parameters[name] = older
    ec2.create(Order(ORDER, box()))
    assert cloud.instances()[0]["ImageId"] == older


def test_spot_with_a_time_to_live(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box(spot=True, max_price=0.5), power_off_after=timedelta(hours=1)))
    asked = next(call for call in cloud.server.calls if call.operation == "RunInstances").parameters
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["InstanceMarketOptions.MarketType"] == "spot"
    assert asked["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    # What 0.5 leaves when the disk and the address are paid.
    assert asked["InstanceMarketOptions.SpotOptions.MaxPrice"] == "0.4731"
    with pytest.raises(CannotStop, match="cannot be stopped") as caught:
        ec2.power_off(record(ref))
    assert "gpubox down mine" in (caught.value.hint or "")
    assert ec2.state(record(ref)) == "running"
    # Its time is over: the guard shuts it down from inside.
    (given,) = cloud.app.behind.values()
    assert "sleep 3600" in given.user_data
    assert isinstance(given.machine, PaperMachine)
    given.machine.shut_down_by_itself()
    assert ec2.state(record(ref)) == "gone"
    ec2.release(record(ref))
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_a_spot_box_is_given_back_while_it_runs(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box(spot=True)))
    with Ledger() as ledger:
        owned = ledger.add("mine", "ec2", state="running", provider_ref=ref, order=ORDER)
        assert give_back(ledger, owned, ec2, say=quiet, clock=cloud.app.clock).state == "released"
        assert [audit.action for audit in ledger.audits("mine") if audit.outcome == "done"][-2:] == ["release", "gone"]
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_a_guard_that_fires_keeps_the_disk_of_other_boxes(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box(), power_off_after=timedelta(hours=1)))
    (given,) = cloud.app.behind.values()
    assert isinstance(given.machine, PaperMachine)
    given.machine.shut_down_by_itself()
    assert ec2.state(record(ref)) == "stopped"
    assert len(cloud.client.describe_volumes()["Volumes"]) == 1


@pytest.mark.parametrize("nth", [1, 2])
def test_a_lost_answer_makes_one_box(ec2: Ec2Provider, cloud: Aws, nth: int) -> None:
    """boto3 asks again by itself; when that is lost as well, the next `create` of the order finds the same box."""
    cloud.faults.drop("RunInstances", times=nth * 3 - 2)
    if nth == 2:
        with pytest.raises(Unreachable):
            ec2.create(Order(ORDER, box()))
        assert ec2.find(ORDER) is not None
    ref = ec2.create(Order(ORDER, box()))
    assert [f"{REGION}/{one['InstanceId']}" for one in cloud.instances()] == [ref]
    assert ec2.find(ORDER) == ref
    tokens = {call.parameters["ClientToken"] for call in cloud.server.calls if call.operation == "RunInstances"}
    assert tokens == {ORDER}


def test_an_order_placed_before_with_other_words_is_found(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.app.address = "198.51.100.9"
    cloud.faults.error("RunInstances", 2, code="IdempotentParameterMismatch", message="other parameters")
    assert ec2.create(Order(ORDER, box())) == ref
    assert len(cloud.instances()) == 1


def test_no_stock_leaves_nothing_and_may_be_tried_again(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.faults.no_stock(3600)
    with pytest.raises(NoStock, match=r"g5\.xlarge"):
        ec2.create(Order(ORDER, box()))
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])
    cloud.app.clock.advance(hours=2)
    assert ec2.create(Order(ORDER, box())) == ec2.find(ORDER)


def test_a_release_that_lies_is_seen(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.faults.lie("TerminateInstances")
    with pytest.raises(Unreachable, match="`running`, not as `terminated`"):
        ec2.release(record(ref))
    assert ec2.state(record(ref)) == "running"
    assert len(cloud.groups()) == 1
    ec2.release(record(ref))
    assert ec2.state(record(ref)) == "gone"


def test_a_box_that_was_terminated_elsewhere_is_gone(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.client.terminate_instances(InstanceIds=[ref.partition("/")[2]])
    assert ec2.state(record(ref)) == "gone"
    assert ec2.find(ORDER) is None
    ec2.power_off(record(ref))
    with pytest.raises(Failed, match="gone"):
        ec2.power_on(record(ref))
    with pytest.raises(Failed, match="did not come up"):
        ec2.ready(record(ref), quiet)


def test_a_box_that_aws_no_longer_knows_is_gone(ec2: Ec2Provider) -> None:
    assert ec2.state(record(f"{REGION}/i-0123456789abcdef0")) == "gone"
    ec2.release(record(f"{REGION}/i-0123456789abcdef0"))


def test_a_new_box_is_not_gone_because_aws_lags_behind_itself(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.faults.error("DescribeInstances", times=2, code="InvalidInstanceID.NotFound", message="not found")
    cloud.app.clock.advance(seconds=0)
    assert ec2.state(record(ref, created_at=cloud.app.clock.now())) == "running"


def test_no_stock_at_power_on(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    ec2.power_off(record(ref))
    cloud.faults.error("StartInstances", code="InsufficientInstanceCapacity", message="none")
    with pytest.raises(NoStock):
        ec2.power_on(record(ref))
    assert ec2.state(record(ref)) == "stopped"


def test_a_box_that_never_answers(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    (given,) = cloud.app.behind.values()
    assert isinstance(given.machine, PaperMachine)
    cloud.app.machines.deaf_seconds = 1e9  # type: ignore[union-attr]
    given.machine.power_on("", "", lambda: None)
    with pytest.raises(Unreachable, match="no SSH server") as caught:
        ec2.ready(record(ref), quiet)
    assert f"{ADDRESS}/32" in (caught.value.hint or "")
    assert "gpubox down mine" in (caught.value.hint or "")
