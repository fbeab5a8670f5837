"""What an account of AWS has, may do and can rent, against a real moto server."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpubox.errors import AuthFailed, Refused, UnknownRegion, Unreachable, UsageError
from gpubox.providers import Order, Wish
from gpubox.providers.ec2 import Ec2Provider
from sim.ec2 import REGION, Aws

from .world import ORDER, box, record


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


def test_a_region_that_aws_does_not_have(ec2: Ec2Provider, cloud: Aws) -> None:
    with pytest.raises(UnknownRegion, match="no region `us-east-11`; did you mean `us-east-1`") as unknown:
        ec2.offers(Wish(gpu="A10G", region="us-east-11"))
    assert "eu-central-1" in unknown.value.known
    with pytest.raises(UnknownRegion) as unknown:
        ec2.create(Order(ORDER, box(region="us-east-11")))
    assert unknown.value.where == "ec2.region"
    assert cloud.server.calls == []
    assert {offer.region for offer in ec2.offers(Wish(gpu="A10G", region="US-East-1"))} == {"us-east-1"}
