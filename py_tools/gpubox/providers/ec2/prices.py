"""What a box costs: AWS's price list where the key may read it, else the list that comes with gpubox."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpubox.errors import GpuboxError
from gpubox.providers.base import Price
from gpubox.providers.ec2.kinds import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubox.providers.ec2.account import Account

CURRENCY = "USD"
# The price list is served from a few regions only, for all: https://docs.aws.amazon.com/awsaccountbilling/
_LIST_AT = "us-east-1"
_HOURS_A_MONTH = Decimal(730)  # AWS's own figure for prices per month.
_CENTS = Decimal("0.0001")
_AT_ONCE = 8


class Prices:
    """Asked once for each type and region. What cannot be told is None."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._on_demand: dict[tuple[str, str], Decimal | None] = {}
        self._listed: bool | None = None

    def box(self, region: str, name: str, *, disk_gib: int, spot: bool) -> Price | None:
        """A whole box of that type: the instance, its disk, and its public address while it runs."""
        instance = self.spot(region, [name]).get(name) if spot else self.on_demand(region, name)
        return None if instance is None else self.whole(instance, disk_gib)

    def whole(self, instance: Decimal, disk_gib: int) -> Price:
        """The price of a box whose instance alone costs so much per hour."""
        per_hour = instance + self.beside(disk_gib)
        return Price(per_hour.quantize(_CENTS), CURRENCY, self.disk_hour(disk_gib).quantize(_CENTS))

    def beside(self, disk_gib: int) -> Decimal:
        """What a running box costs per hour besides the instance."""
        return self.disk_hour(disk_gib) + catalogue().address_hour

    def disk_hour(self, disk_gib: int) -> Decimal:
        """EBS gp3, USD per hour; as in us-east-1, which other regions exceed by up to a half."""
        return catalogue().disk_gib_month * disk_gib / _HOURS_A_MONTH

    def on_demand(self, region: str, name: str) -> Decimal | None:
        """The instance alone, USD per hour."""
        known = catalogue()
        if (region, name) not in self._on_demand:
            price = self._from_list(region, name)
            kind = known.find(name)
            if price is None and kind is not None and region in known.regions:
                price = kind.price
            self._on_demand[region, name] = price
        return self._on_demand[region, name]

    def spot(self, region: str, names: Iterable[str]) -> dict[str, Decimal]:
        """The spot price now, in the region's cheapest zone, USD per hour, of those types that have one."""
        answer = self._account.ask(
            "ec2",
            region,
            "describe_spot_price_history",
            InstanceTypes=list(names),
            ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
            StartTime=datetime.now(UTC),
        )
        cheapest: dict[str, Decimal] = {}
        for said in answer["SpotPriceHistory"]:
            price = Decimal(said["SpotPrice"])
            cheapest[said["InstanceType"]] = min(price, cheapest.get(said["InstanceType"], price))
        return cheapest

    def on_demand_of(self, region: str, names: Iterable[str]) -> dict[str, Decimal]:
        """The same of those of many types whose price can be told; AWS's list is asked for several at once."""
        from concurrent.futures import ThreadPoolExecutor

        wanted = list(names)
        self.listed()  # Asked once, not by every thread.
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            found = dict(zip(wanted, pool.map(lambda name: self.on_demand(region, name), wanted), strict=True))
        return {name: price for name, price in found.items() if price is not None}

    def listed(self) -> bool:
        """Whether AWS's price list can be read with this key; asked once."""
        if self._listed is None:
            try:
                self._products(_LIST_AT, "g5.xlarge")
            except GpuboxError:
                self._listed = False
            else:
                self._listed = True
        return self._listed

    def _from_list(self, region: str, name: str) -> Decimal | None:
        if not self.listed():
            return None
        prices = [price for product in self._products(region, name) if (price := hourly(product)) is not None]
        return min(prices, default=None)

    def _products(self, region: str, name: str) -> list[str]:
        wanted = {
            "instanceType": name,
            "regionCode": region,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
        }
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        answer = self._account.ask("pricing", _LIST_AT, "get_products", ServiceCode="AmazonEC2", Filters=filters)
        products: list[str] = answer["PriceList"]
        return products


def hourly(product: str) -> Decimal | None:
    """USD per hour on demand of a product as the price list answers it (JSON in a string); None when it has none."""
    said: dict[str, Any] = json.loads(product)
    for term in said.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = Decimal(dimension.get("pricePerUnit", {}).get(CURRENCY, "0"))
            if dimension.get("unit") == "Hrs" and price > 0:
                return price
    return None
