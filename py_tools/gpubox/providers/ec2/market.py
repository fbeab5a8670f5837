"""What EC2 rents in a region, with prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.providers.base import Offer
from gpubox.providers.ec2.kinds import Kind, catalogue
from gpubox.providers.ec2.trouble import NotAllowed

if TYPE_CHECKING:
    from gpubox.providers.base import Price, Wish
    from gpubox.providers.ec2.account import Account
    from gpubox.providers.ec2.prices import Prices

# The size of disk that a box file gets unless it says another: part of the price.
_DISK_GIB = 200
_SPOT = "spot: AWS may take it away at two minutes' notice"


def offers(account: Account, prices: Prices, wish: Wish) -> list[Offer]:
    """Each type with the wished card (or any) that the region has, on demand and as spot, the cheapest first.

    Raises `UnknownRegion`.
    """
    region = account.known(wish.region, where="--region") if wish.region else account.home()
    wanted = catalogue().with_card(wish.gpu) if wish.gpu else list(catalogue().kinds)
    here = _here(account, region, wanted)
    if not here:
        return []
    names = [kind.name for kind in here]
    fixed, spot = prices.on_demand_of(region, names), prices.spot(region, names)
    price = {name: prices.whole(instance, _DISK_GIB) for name, instance in fixed.items()}
    low = {name: prices.whole(instance, _DISK_GIB) for name, instance in spot.items()}
    found = [_offer(region, kind, price.get(kind.name), None) for kind in here]
    found += [_offer(region, kind, low[kind.name], _SPOT) for kind in here if kind.name in low]
    return sorted(found, key=lambda offer: (offer.price is None, offer.price and offer.price.per_hour))


def _here(account: Account, region: str, wanted: list[Kind]) -> list[Kind]:
    """Those of the types that the region offers at all."""
    if not wanted:
        return []
    filters = [{"Name": "instance-type", "Values": [kind.name for kind in wanted]}]
    try:
        answer = account.all(region, "describe_instance_type_offerings", "InstanceTypeOfferings", Filters=filters)
    except NotAllowed:
        return wanted  # Only this question is not allowed; what is offered elsewhere only is shown as well.
    names = {offered["InstanceType"] for offered in answer}
    return [kind for kind in wanted if kind.name in names]


def _offer(region: str, kind: Kind, price: Price | None, note: str | None) -> Offer:
    return Offer(
        provider="ec2",
        sku=kind.name,
        gpu=kind.gpu,
        gpu_count=kind.count,
        price=price,
        ram_gib=kind.ram_gib,
        vcpus=kind.vcpus,
        vram_gib=kind.vram_gib * kind.count,
        region=region,
        note=note,
    )
