"""What is asked of AWS for an order, as one call that AWS does at most once."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpubox.errors import NoStock, Refused
from gpubox.providers.ec2 import tags
from gpubox.providers.first_guard import STATE, shell_guard

if TYPE_CHECKING:
    from datetime import datetime

    from gpubox.boxfile import BoxFile
    from gpubox.providers.base import Order, Price
    from gpubox.providers.ec2.image import Image

# Run by cloud-init as root, early in every boot; the user is made only later in the first one. Who logs in is not root,
# but its guard has to leave word where the first one looks for it, and systemd does not read what AutoDL's boot reads.
_AT_BOOT = """\
#cloud-boothook
#!/bin/sh
{guard}
(
until id {user}; do sleep 2; done
mkdir -p {state} && chown {user} {state}
runuser -l {user} -c {autostart}
) </dev/null >/dev/null 2>&1 &
"""
_AUTOSTART = (
    'root={data_dir}/gpubox; [ ! -r "$root/supervisor/autostart.sh" ] || sh "$root/supervisor/autostart.sh" "$root"'
)


def request(
    order: Order, *, instance_type: str, image: Image, group: str, spot_limit: Decimal | None, now: datetime
) -> dict[str, Any]:
    """The parameters of RunInstances. `spot_limit`: the most that a spot instance may cost, in USD per hour.

    ClientToken is the order's name: whatever is repeated or lost, AWS makes one instance of it.
    """
    wanted = order.box.ec2
    assert wanted is not None
    own = tags.of_order(order.name, made=now)
    login = tags.of_box(image.user, wanted.ssh_port, wanted.ssh_from)
    kinds = ["volume", "network-interface", *(["spot-instances-request"] if wanted.spot else [])]
    parameters: dict[str, Any] = {
        "ClientToken": order.name,
        "ImageId": image.id,
        "InstanceType": instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": order.name,
        "BlockDeviceMappings": _disks(image, wanted.disk_gib),
        "InstanceInitiatedShutdownBehavior": "terminate" if wanted.ends_when_off else "stop",
        # Credentials of the instance are for those who ask from the box itself, not for what a web page makes it ask.
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "TagSpecifications": [
            tags.specification("instance", {**own, **login}),
            *(tags.specification(kind, own) for kind in kinds),
        ],
        "UserData": user_data(order, image.user),
        **_network(wanted.subnet, group),
    }
    if wanted.spot:
        limit = {"MaxPrice": str(spot_limit)} if spot_limit is not None else {}
        # One-time: a persistent request would start the box again by itself, and bill.
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate", **limit}
        parameters["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return parameters


def user_data(order: Order, user: str) -> str:
    """What the box does at every boot: the guard of the order begins to count, and what gpubox keeps running starts."""
    data_dir = shlex.quote(order.box.data_dir.rstrip("/")) if order.box.data_dir else '"$HOME/gpubox-data"'
    after = order.power_off_after
    return _AT_BOOT.format(
        guard=shell_guard(int(after.total_seconds())) if after is not None else "",
        user=shlex.quote(user),
        state=STATE,
        autostart=shlex.quote(_AUTOSTART.format(data_dir=data_dir)),
    )


def spot_limit(box: BoxFile, beside: Decimal) -> Decimal | None:
    """What `max_price` leaves for the spot instance when the box costs `beside` per hour besides; None without it.

    Raises `Refused` when nothing is left.
    """
    if box.max_price is None:
        return None
    left = Decimal(str(box.max_price)) - beside
    if left <= 0:
        raise Refused(
            f"`max_price: {box.max_price:g}` does not even pay for the disk and the address, {beside:.4f} USD/h",
            where="max_price",
            hint="raise `max_price`, or make `ec2.disk_gib` smaller",
        )
    return left.quantize(Decimal("0.0001"))


def refuse_dearer(box: BoxFile, instance_type: str, price: Price | None, *, as_of: str) -> None:
    """Hold `max_price`, which the box file has. Raises `Refused` for a box that is dearer, or at a price nobody knows.

    A spot box whose price is too high at the moment is `NoStock`: its price may fall.
    """
    assert box.ec2 is not None
    assert box.max_price is not None
    limit = Decimal(str(box.max_price))
    if price is None:
        raise Refused(
            f"the price of {instance_type} is not known, so `max_price: {box.max_price:g}` cannot be held",
            where="max_price",
            hint=f"allow the AWS user `pricing:GetProducts` (gpubox's own list, of {as_of}, lacks this type or "
            "region), or remove `max_price`",
        )
    if price.per_hour <= limit:
        return
    message = f"a box of {instance_type} costs {price.per_hour} {price.currency}/h, more than `max_price`: {limit}"
    if box.ec2.spot:
        raise NoStock(message, where="max_price", hint="try again later, or raise `max_price`")
    raise Refused(message, where="max_price", hint="raise `max_price`, or take another card or `ec2.spot: true`")


def _disks(image: Image, root_gib: int) -> list[dict[str, Any]]:
    """The root at the wanted size; every volume of the image ends with the box, or it would be billed for ever."""
    root, *others = image.disks
    return [
        {"DeviceName": root, "Ebs": {"VolumeSize": root_gib, "VolumeType": "gp3", "DeleteOnTermination": True}},
        *({"DeviceName": name, "Ebs": {"DeleteOnTermination": True}} for name in others),
    ]


def _network(subnet: str | None, group: str) -> dict[str, Any]:
    if subnet is None:
        return {"SecurityGroupIds": [group]}  # Subnets of the default network give public addresses.
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": True}
    return {"NetworkInterfaces": [{**interface, "DeleteOnTermination": True}]}
