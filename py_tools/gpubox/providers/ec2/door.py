"""Who may knock at a box: its security group, which admits SSH only, and our key."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from gpubox.errors import Failed, Unreachable
from gpubox.providers.ec2 import tags
from gpubox.providers.ec2.trouble import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gpubox.providers.ec2.account import Account

CHECK_IP = "GPUBOX_EC2_CHECK_IP_URL"
_CHECK_IP = "https://checkip.amazonaws.com"
_HAND = "or say it yourself in the box file, as in `ec2: {ssh_from: [203.0.113.7/32]}`"


def my_address() -> str:
    """The network of this machine's public address alone, as AWS's own service sees it: `203.0.113.7/32`.

    Raises `Unreachable` when the service does not answer, `Failed` when it answers something else.
    """
    import httpx

    url = os.environ.get(CHECK_IP) or _CHECK_IP
    try:
        answer = httpx.get(url, timeout=15, follow_redirects=True).raise_for_status().text.strip()
    except httpx.HTTPError as error:
        raise Unreachable(
            f"cannot find out this machine's public address: {error}", where=url, hint=f"try again, {_HAND}"
        ) from error
    try:
        address = ip_address(answer)
    except ValueError as error:
        raise Failed(
            f"asked for this machine's public address, and got `{answer[:60]}`",
            where=url,
            hint=f"log in to the network that you are in, {_HAND}",
        ) from error
    if address.is_unspecified or address.is_multicast:
        raise Failed(f"`{address}` is no public address", where=url, hint=_HAND.removeprefix("or "))
    return str(ip_network(address))


def group(account: Account, region: str, order: str, vpc: str | None, now: datetime) -> str:
    """The id of the order's security group, made if it is missing; a new one admits nobody."""
    if (known := _groups(account, region, order)) != []:
        found: str = known[0]["GroupId"]
        return found
    place = {"VpcId": vpc} if vpc else {}
    answer = account.ask(
        "ec2",
        region,
        "create_security_group",
        GroupName=order,
        Description="gpubox: SSH from the person who rents the box",
        TagSpecifications=[tags.specification("security-group", tags.of_order(order, made=now))],
        **place,
    )
    made: str = answer["GroupId"]
    return made


def admit(account: Account, region: str, group_id: str, networks: Iterable[str], port: int) -> bool:
    """Let SSH in from `networks` and from nowhere else, and nothing but SSH; whether that was a change."""
    before = _rules(account, region, group_id)
    have = {entry for permission in before for entry in _entries(permission)}
    want = {(port, str(ip_network(network))) for network in networks}
    new = [_permission(*entry) for entry in sorted(want - have)]
    if new:
        account.ask("ec2", region, "authorize_security_group_ingress", GroupId=group_id, IpPermissions=new)
    old = [permission for permission in _apart(before) if not _entries(permission) <= want]
    if not old:
        return bool(new)
    account.ask("ec2", region, "revoke_security_group_ingress", GroupId=group_id, IpPermissions=old)
    # AWS says yes as well to the removal of a rule that it cannot find.
    left = [permission for permission in _apart(_rules(account, region, group_id)) if not _entries(permission) <= want]
    if left:
        raise Failed(
            f"the security group {group_id} lets in more than it should, and AWS does not take that away",
            where=f"ec2 in {region}",
            hint=f"remove all inbound rules of {group_id} in AWS's console but SSH from {', '.join(networks)}",
        )
    return True


def key_pair(account: Account, region: str, order: str, public_key: str, now: datetime) -> None:
    """Give AWS our public key under the order's name."""
    specification = [tags.specification("key-pair", tags.of_order(order, made=now))]
    parameters = {"KeyName": order, "PublicKeyMaterial": public_key.encode(), "TagSpecifications": specification}
    try:
        account.ask("ec2", region, "import_key_pair", **parameters)
    except ApiError as error:
        if error.code != "InvalidKeyPair.Duplicate":
            raise
        # Left by a call that was cut short; it may hold a key that we no longer have.
        account.ask("ec2", region, "delete_key_pair", KeyName=order)
        account.ask("ec2", region, "import_key_pair", **parameters)


def remove(account: Account, region: str, order: str) -> bool:
    """Delete the order's group and key pair; whether both are gone. A group that a box still uses stays."""
    account.ask("ec2", region, "delete_key_pair", KeyName=order)
    for found in _groups(account, region, order):
        try:
            account.ask("ec2", region, "delete_security_group", GroupId=found["GroupId"])
        except ApiError as error:
            if error.code in ("DependencyViolation", "InvalidGroup.InUse"):
                return False
            if error.code != "InvalidGroup.NotFound":
                raise
    return True


def orders(account: Account, region: str, made_before: datetime) -> set[str]:
    """The orders that have a group or a key pair of ours that was made before that time."""
    filters = [{"Name": "tag-key", "Values": [tags.ORDER]}]
    things = account.ask("ec2", region, "describe_security_groups", Filters=filters)["SecurityGroups"]
    things += account.ask("ec2", region, "describe_key_pairs", Filters=filters)["KeyPairs"]
    read = [tags.read(thing.get("Tags")) for thing in things]
    return {found[tags.ORDER] for found in read if (made := tags.made_at(found)) is not None and made < made_before}


def _groups(account: Account, region: str, order: str) -> list[dict[str, Any]]:
    filters = [{"Name": "group-name", "Values": [order]}, {"Name": f"tag:{tags.ORDER}", "Values": [order]}]
    found: list[dict[str, Any]] = account.ask("ec2", region, "describe_security_groups", Filters=filters)[
        "SecurityGroups"
    ]
    return found


def _rules(account: Account, region: str, group_id: str) -> list[dict[str, Any]]:
    found = account.ask("ec2", region, "describe_security_groups", GroupIds=[group_id])["SecurityGroups"][0]
    rules: list[dict[str, Any]] = found.get("IpPermissions", [])
    return rules


def _permission(port: int, network: str) -> dict[str, Any]:
    ranges = (
        {"Ipv6Ranges": [{"CidrIpv6": network, "Description": "gpubox"}]}
        if ip_network(network).version == 6
        else {"IpRanges": [{"CidrIp": network, "Description": "gpubox"}]}
    )
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **ranges}


def _apart(permissions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each rule with one source and no description: AWS puts those together that differ in nothing else."""
    sources = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
    return [
        {
            **{key: value for key, value in permission.items() if key not in sources},
            source: [{key: value for key, value in one.items() if key != "Description"}],
        }
        for permission in permissions
        for source in sources
        for one in permission.get(source, [])
    ]


def _entries(permission: dict[str, Any]) -> set[tuple[int, str]]:
    """(port, network) of a rule; what is not SSH over TCP is an entry that nobody wants."""
    networks = [one["CidrIp"] for one in permission.get("IpRanges", [])]
    networks += [one["CidrIpv6"] for one in permission.get("Ipv6Ranges", [])]
    others = [*permission.get("PrefixListIds", []), *permission.get("UserIdGroupPairs", [])]
    low, high = permission.get("FromPort", -1), permission.get("ToPort", -1)
    plain = permission["IpProtocol"] == "tcp" and low == high and not others
    return {(low if plain else -1, network) for network in networks} or {(-1, "")}
