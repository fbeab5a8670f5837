"""EC2 from order to release, against a real moto server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from gpubox.boxfile.models import BoxFile
from gpubox.errors import AuthFailed, CannotStop, Failed, NoStock, Refused, Unreachable, UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.providers import Order, Wish
from gpubox.providers.ec2 import Ec2Provider
from gpubox.releasing import give_back
from gpubox.remote.identity import ensure_identity, public_key
from sim.ec2 import ADDRESS, PAPER_KEY, REGION, Aws, aws, moto_server
from sim.machines import PaperMachine, PaperMachines

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = "gpubox-mine-0badcafe"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def cloud(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty account, whose instances are boxes on paper."""
    with aws(moto) as cloud:
        cloud.app.machines = PaperMachines(cloud.app.clock)
        try:
            for name, value in cloud.environment.items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("AWS_PROFILE", raising=False)
            yield cloud
        finally:
            cloud.app.machines.close()


@pytest.fixture
def ec2(cloud: Aws) -> Ec2Provider:
    return Ec2Provider(clock=cloud.app.clock)


def box(*, gpu: str | None = "A10G", count: int = 1, max_price: float | None = None, **section: object) -> BoxFile:
    card = {"gpu": {"name": gpu, "count": count}} if gpu else {}
    return BoxFile.model_validate({"provider": "ec2", "ec2": section, "max_price": max_price, **card})


def record(ref: str | None, name: str = "mine", **fields: object) -> BoxRecord:
    now = datetime.now(UTC)
    values = {"name": name, "provider": "ec2", "provider_ref": ref, "order": ORDER, "created_at": now}
    return BoxRecord.model_validate({**values, "updated_at": now, **fields})


def quiet(_words: str) -> None:
    pass


def networks(group: dict[str, Any]) -> set[tuple[str, int, int, str]]:
    """(protocol, first port, last port, network) of everything that may come in."""
    return {
        (rule["IpProtocol"], rule.get("FromPort", -1), rule.get("ToPort", -1), source)
        for rule in group["IpPermissions"]
        for source in [
            *(one["CidrIp"] for one in rule["IpRanges"]),
            *(one["CidrIpv6"] for one in rule["Ipv6Ranges"]),
            *(one["GroupId"] for one in rule["UserIdGroupPairs"]),
        ]
    }


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


@pytest.mark.parametrize(
    ("code", "error"),
    [("VcpuLimitExceeded", Refused), ("UnauthorizedOperation", AuthFailed), ("InvalidSubnetID.NotFound", Failed)],
)
def test_a_no_leaves_nothing(ec2: Ec2Provider, cloud: Aws, code: str, error: type[Exception]) -> None:
    cloud.faults.error("RunInstances", code=code, message="no")
    with pytest.raises(error):
        ec2.create(Order(ORDER, box()))
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_only_ssh_from_the_callers_address_comes_in(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    (group,) = cloud.groups()
    assert networks(group) == {("tcp", 22, 22, f"{ADDRESS}/32")}
    assert [one["GroupId"] for one in cloud.instances()[0]["SecurityGroups"]] == [group["GroupId"]]
    # The person moved, and somebody opened the box by hand.
    cloud.app.address = "2001:db8::7"
    world = {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 9000, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    for rule in (world, everything):
        cloud.client.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    ec2.ready(record(ref, host_key=PAPER_KEY), quiet)
    port = next(iter(cloud.app.behind.values())).machine.port
    assert networks(cloud.groups()[0]) == {("tcp", port, port, "2001:db8::7/128")}


def test_a_box_is_met_although_the_own_address_cannot_be_asked(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.faults.http("CheckIp", 2, status=503)
    said: list[str] = []
    assert ec2.ready(record(ref), said.append).endpoint.host == "127.0.0.1"
    assert any("left as it was" in words for words in said)
    assert networks(cloud.groups()[0]) == {("tcp", 22, 22, f"{ADDRESS}/32")}


def test_a_group_that_stays_open_is_told(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    cloud.client.authorize_security_group_ingress(GroupId=cloud.groups()[0]["GroupId"], IpPermissions=[rule])
    cloud.faults.lie("RevokeSecurityGroupIngress")
    with pytest.raises(Failed, match="lets in more than it should"):
        ec2.ready(record(ref), quiet)


def test_networks_of_the_box_file_are_let_in_and_stay(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box(ssh_from=["198.51.100.0/24", "0.0.0.0/0"], ssh_port=2222)))
    assert networks(cloud.groups()[0]) == {("tcp", 2222, 2222, net) for net in ("198.51.100.0/24", "0.0.0.0/0")}
    assert cloud.server.count("CheckIp") == 0
    ec2.ready(record(ref, host_key=PAPER_KEY), quiet)
    assert {rule[3] for rule in networks(cloud.groups()[0])} == {"198.51.100.0/24", "0.0.0.0/0"}


@pytest.mark.parametrize("answer", ["<html>log in to the hotel's network</html>", "0.0.0.0", ""])
def test_nothing_is_made_when_the_own_address_is_not_known(ec2: Ec2Provider, cloud: Aws, answer: str) -> None:
    cloud.app.address = answer
    with pytest.raises(Failed) as caught:
        ec2.create(Order(ORDER, box()))
    assert "ssh_from" in (caught.value.hint or "")
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


@pytest.mark.parametrize("call", ["CheckIp", "DescribeImages", "CreateSecurityGroup", "ImportKeyPair"])
def test_what_fails_before_the_order_is_not_called_unclear(ec2: Ec2Provider, cloud: Aws, call: str) -> None:
    """`Unreachable` would make gpubox look for minutes for a box that nobody was asked for."""
    cloud.faults.http(call, times=3, status=503)
    with pytest.raises(Failed, match="nothing was rented"):
        ec2.create(Order(ORDER, box()))
    assert cloud.server.count("RunInstances") == 0
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_litter_of_calls_that_were_cut_short_is_removed(ec2: Ec2Provider, cloud: Aws) -> None:
    lost = "gpubox-lost-00000001"
    cloud.faults.drop("RunInstances", times=3, done=False)
    with pytest.raises(Unreachable):
        ec2.create(Order(lost, box()))
    assert ec2.find(lost) is None
    assert (len(cloud.groups()), cloud.key_pairs()) == (1, [lost])
    ref = ec2.create(Order(ORDER, box()))
    cloud.client.create_security_group(GroupName="of somebody else", Description="not ours")
    fresh = "gpubox-fresh-0000002"
    cloud.app.clock.advance(hours=2)
    cloud.faults.drop("RunInstances", 5, times=3, done=False)
    with pytest.raises(Unreachable):
        ec2.create(Order(fresh, box()))
    ec2.release(record(ref))
    assert {group["GroupName"] for group in cloud.groups()} == {"of somebody else", fresh}
    assert cloud.key_pairs() == [fresh]


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


def test_boxes_of_others_and_of_other_regions_are_seen(
    ec2: Ec2Provider, cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPUBOX_EC2_REGIONS")
    from sim.ec2 import raw

    west = raw(cloud.app.moto, "us-west-2")
    image = west.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "forgotten"}]}]
    west.run_instances(ImageId=image, InstanceType="p4d.24xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags)
    ref = ec2.create(Order(ORDER, box()))
    found = {one.name: one for one in ec2.alive()}
    assert set(found) == {"forgotten", ORDER}
    assert found["forgotten"].region == "us-west-2"
    assert (found["forgotten"].gpu, found["forgotten"].gpu_count) == ("A100 40GB", 8)
    price = found["forgotten"].price
    assert price is not None
    assert price.per_hour > Decimal("21.95")
    assert ec2.find(ORDER) == ref
    ec2.release(record(found["forgotten"].ref, order=None))
    assert [one.name for one in ec2.alive()] == [ORDER]


def test_a_region_that_does_not_answer_is_told(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.faults.http("DescribeInstances", times=3, status=503)
    with pytest.raises(Unreachable):
        ec2.alive()


def test_a_region_that_is_forbidden_is_told_with_the_way_round(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.faults.error("DescribeInstances", code="UnauthorizedOperation", message="explicit deny in a policy")
    with pytest.raises(AuthFailed) as caught:
        ec2.alive()
    assert "GPUBOX_EC2_REGIONS" in (caught.value.hint or "")


def test_a_page_of_somebody_else_is_not_an_answer(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.faults.html("DescribeInstances", times=99).html("GetCallerIdentity")
    with pytest.raises(Unreachable, match="not AWS"):
        ec2.alive()
    with pytest.raises(Unreachable, match="not AWS"):
        ec2.state(record(ref))
    with pytest.raises(Unreachable, match="not AWS"):
        ec2.check()


def test_max_price_is_held(ec2: Ec2Provider, cloud: Aws) -> None:
    with pytest.raises(Refused, match=r"costs 1.0329 USD/h, more than `max_price`"):
        ec2.create(Order(ORDER, box(max_price=1.0)))
    with pytest.raises(Refused, match="is not known"):
        ec2.create(Order(ORDER, box(instance_type="p3dn.24xlarge", gpu=None, max_price=50)))
    cloud.app.price_list = {"p3dn.24xlarge": "31.2120000000"}
    told = Ec2Provider(clock=cloud.app.clock)
    with pytest.raises(Refused, match=r"costs 31.2389 USD/h"):
        told.create(Order(ORDER, box(instance_type="p3dn.24xlarge", gpu=None, max_price=30)))
    with pytest.raises(Refused, match="does not even pay"):
        told.create(Order(ORDER, box(spot=True, max_price=0.02)))
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])
    assert told.create(Order(ORDER, box(max_price=1.1)))


def test_a_card_that_aws_does_not_have(ec2: Ec2Provider, cloud: Aws) -> None:
    with pytest.raises(UsageError, match="no RTX 4090; the nearest are L40S") as caught:
        ec2.create(Order(ORDER, box(gpu="RTX 4090")))
    assert "gpu.name: L40S" in (caught.value.hint or "")
    assert cloud.server.calls == []


def test_offers(ec2: Ec2Provider, cloud: Aws) -> None:
    found = ec2.offers(Wish(gpu="a10g"))
    assert {offer.gpu for offer in found} == {"A10G"}
    assert {offer.gpu_count for offer in found} == {1, 4, 8}
    small = next(offer for offer in found if offer.sku == "g5.xlarge" and offer.note is None)
    assert small.price is not None
    assert (small.ram_gib, small.vcpus, small.price.per_hour) == (16, 4, Decimal("1.0329"))
    assert small.in_stock is None
    spot = next(offer for offer in found if offer.sku == "g5.xlarge" and offer.note)
    assert spot.price is not None
    assert spot.price.per_hour < small.price.per_hour
    assert ec2.offers(Wish(gpu="RTX 4090")) == []
    assert cloud.server.count("DescribeSpotPriceHistory") == 1  # For all types at once.
    assert {"T4", "L4", "L40S", "H100"} <= {offer.gpu for offer in ec2.offers(Wish())}


def test_an_account_that_may_rent(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.app.price_list = {"g5.xlarge": "1.006"}
    cloud.app.quotas = {"L-DB2E81BA": 64, "L-3819A6DF": 64, "L-417A185B": 96, "L-7212CCBC": 0}
    found = ec2.check()
    assert [item.check for item in found if item.level == "blocker"] == []
    words = " ".join(item.message for item in found)
    assert "123456789012" in words
    assert "would be allowed" in words
    assert [item.message for item in found if item.level == "warning"] == [
        f"no instance of kind P, spot may run in {REGION} (0 vCPUs)"
    ]
    assert (cloud.instances(), cloud.groups(), cloud.key_pairs()) == ([], [], [])


def test_an_account_that_may_not(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.faults.error("RunInstances", code="UnauthorizedOperation", message="You are not authorized.")
    found = {item.check: item for item in ec2.check()}
    assert found["permissions"].level == "blocker"
    assert "run_instances" in found["permissions"].message
    assert found["prices"].level == "warning"


def test_a_wrong_key_is_one_blocker(ec2: Ec2Provider, cloud: Aws) -> None:
    cloud.faults.error("GetCallerIdentity", code="InvalidClientTokenId", message="The security token is invalid.")
    (item,) = ec2.check()
    assert (item.check, item.level) == ("key", "blocker")
    assert "a-secret-of-this-test" not in item.message


def test_without_a_key(ec2: Ec2Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with pytest.raises(AuthFailed) as caught:
        ec2.alive()
    assert "keyring set gpubox ec2-access-key-id" in (caught.value.hint or "")


def test_keys_from_the_file_of_gpubox(ec2: Ec2Provider, cloud: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubox import accounts

    for credential, value in (
        (accounts.AWS_ACCESS_KEY_ID, "AKIAOFTHEFILE"),
        (accounts.AWS_SECRET_ACCESS_KEY, "of-the-file"),
    ):
        monkeypatch.delenv(credential.variable)
        path = accounts.file_of(credential)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    assert ec2.alive() == []


def test_without_a_region(ec2: Ec2Provider, cloud: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(UsageError, match="in which AWS region") as caught:
        ec2.create(Order(ORDER, box()))
    assert "us-east-1" in (caught.value.hint or "")
    assert ec2.create(Order(ORDER, box(region="us-east-1"))).startswith("us-east-1/")


def test_a_box_whose_host_key_is_not_shown(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.app.host_key = None
    said: list[str] = []
    assert ec2.ready(record(ref), said.append).host_key is None
    assert "the first one that the box shows is taken" in said[-1]


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
