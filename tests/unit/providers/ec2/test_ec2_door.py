"""Who may log in to a box of EC2, and what a call that is cut short leaves, against a real moto server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, Failed, Refused, Unreachable
from gpubox.providers import Order
from sim.ec2 import ADDRESS, PAPER_KEY, Aws

from .world import ORDER, box, networks, quiet, record

if TYPE_CHECKING:
    from gpubox.providers.ec2 import Ec2Provider


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


def test_a_box_whose_host_key_is_not_shown(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    cloud.app.host_key = None
    said: list[str] = []
    assert ec2.ready(record(ref), said.append).host_key is None
    assert "the first one that the box shows is taken" in said[-1]


def test_who_has_moved_is_let_in_when_the_box_does_not_answer(ec2: Ec2Provider, cloud: Aws) -> None:
    ref = ec2.create(Order(ORDER, box()))
    owned = record(ref)
    ec2.ready(owned, quiet)
    behind = next(iter(cloud.app.behind.values())).machine
    before = ec2.whereabouts(owned)
    assert before is not None
    assert (before.endpoint.host, before.endpoint.port, before.endpoint.user) == ("127.0.0.1", behind.port, "ubuntu")
    assert not before.let_in
    cloud.app.address = "198.51.100.9"
    now = ec2.whereabouts(owned)
    assert now is not None
    assert now.let_in
    assert networks(cloud.groups()[0]) == {("tcp", behind.port, behind.port, "198.51.100.9/32")}
    ec2.power_off(owned)
    assert ec2.whereabouts(owned) is None
    ec2.release(owned)
    assert ec2.whereabouts(owned) is None
