"""From a box file to a call that rents: zone, image, size and price are looked up, and nothing is rented."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.boxfile.compshare import Compshare
from gpubox.errors import BoxFileError, NoStock, UsageError
from gpubox.providers.compshare import choice
from gpubox.providers.compshare.answers import NotAvailable

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.providers.base import Price
    from gpubox.providers.compshare.account import Account
    from gpubox.providers.compshare.api import Api

MACHINE = "G"


@dataclass(frozen=True, slots=True)
class Plan:
    """One box that can be rented now: where, of what size, and what it costs."""

    region: str
    zone: str
    gpu: str
    size: choice.Size
    image: str | None
    section: Compshare
    price: Price | None
    project: str | None = None

    @property
    def common(self) -> dict[str, object]:
        """What the calls for stock and for renting have in common."""
        return stock_question(self.region, self.zone, self.gpu, self.image, self.section, self.project)

    def parameters(self, name: str) -> dict[str, object]:
        """Of the call that rents one box. How it is paid is always said: CompShare's default is by the month."""
        return {
            **self.common,
            "GPU": self.size.gpus,
            "CPU": self.size.cpus,
            "Memory": self.size.ram_gib * 1024,  # MB here, GB in every answer
            "Name": name,
            "MaxCount": 1,
            "Quantity": None if self.section.charge in ("Postpay", "Dynamic") else 1,
            "SecurityGroupId": self.section.firewall,
        }


class Planner:
    """Reads; rents nothing."""

    def __init__(self, api: Api, account: Account) -> None:
        self._api = api
        self._account = account

    def plan(self, box: BoxFile) -> Plan:
        """The cheapest box in stock that is what the box file asks for.

        Raises `BoxFileError` without a card, `UsageError` for what CompShare never has, and `NoStock`, also when
        everything costs more than `max_price`: prices fall at night.
        """
        if box.gpu is None:
            raise BoxFileError(
                "`provider: compshare` rents by the card, and the box file names none",
                where="gpu",
                hint="write `gpu:` with `name: RTX 4090` below it; `gpubox offers` lists what there is",
            )
        section = box.compshare or Compshare()
        there = self._kinds(section.zone)
        gpu = choice.choose_card(box.gpu.name, [kind for _, kind in there])
        places = [(region, kind) for region, kind in there if kind.name == gpu]
        found: list[Plan] = []
        troubles: list[UsageError | NoStock] = []
        for region, kind in places:
            try:
                found.append(self._in_zone(region, kind, box.gpu.count, section))
            except (UsageError, NoStock) as error:
                troubles.append(error)
        if not found:
            # What waiting may mend comes before what it does not.
            raise min(troubles, key=lambda error: isinstance(error, UsageError))
        best = min(found, key=_cost)
        limit = Decimal(str(box.max_price)) if box.max_price is not None else None
        if limit is not None and (best.price is None or best.price.per_hour > limit):
            raise _too_dear(best, limit)
        return best

    def price(self, plan: Plan) -> Price | None:
        """What CompShare asks for it per hour now; None where it does not say."""
        given = {**plan.common, "Gpu": plan.size.gpus, "Cpu": plan.size.cpus, "Memory": plan.size.ram_gib * 1024}
        try:
            answer = self._api.read("GetCompShareInstancePrice", given)
        except NotAvailable:
            return None
        return choice.quote(answer, plan.section.charge)

    def stock(self, question: dict[str, object]) -> list[choice.Size]:
        """The sizes of a kind of box there, each with whether there is one now; nothing is reserved."""
        return choice.sizes(self._api.read("CheckCompShareResourceCapacity", question))

    def kinds(self, region: str, zone: str) -> list[choice.Kind]:
        """Every kind of card there, in the order of the list."""
        given = {"Region": region, "Zone": zone, "InstanceType": "uhost"}
        return choice.kinds(self._api.read("DescribeAvailableCompShareInstanceTypes", given), zone)

    def image(self, region: str, zone: str, gpu: str) -> str:
        """The id of an image for that card."""
        given = {"Region": region, "Zone": zone, "ImageType": "System"}
        return choice.choose_image(self._api.pages("DescribeCompShareImages", "ImageSet", given), gpu)

    def _kinds(self, zone: str | None) -> list[tuple[str, choice.Kind]]:
        zones = self._account.zones()
        chosen = [pair for pair in zones if zone in (None, pair[1])]
        if not chosen:
            raise UsageError(
                f"CompShare has no zone `{zone}`",
                where="compshare.zone",
                hint=f"choose one of: {', '.join(sorted(known for _, known in zones))}",
            )
        return [(region, kind) for region, one in chosen for kind in self.kinds(region, one)]

    def _in_zone(self, region: str, kind: choice.Kind, count: int, section: Compshare) -> Plan:
        zone = kind.zone
        if kind.sold_out:
            raise NoStock(f"CompShare has no `{kind.name}` in stock in {zone}", where=zone)
        image = section.image or self.image(region, zone, kind.name)
        project = self._account.projects()[0]
        try:
            sizes = self.stock(stock_question(region, zone, kind.name, image, section, project))
        except NotAvailable as error:
            # A way of payment, a kind of disk or an image that this zone does not have.
            raise UsageError(
                f"{zone} does not take this box file: {error.message}",
                where="compshare",
                hint="look at `compshare.charge`, `compshare.image` and `compshare.disk_type`, or choose another zone",
            ) from error
        size = choice.choose_size(sizes, gpus=count, cpus=section.cpus, ram_gib=section.ram_gib)
        plan = Plan(region, zone, kind.name, size, image, section, None, project)
        return Plan(region, zone, kind.name, size, image, section, self.price(plan), project)


def stock_question(
    region: str, zone: str, gpu: str, image: str | None, section: Compshare, project: str | None
) -> dict[str, object]:
    """The parameters of the call that tells what is in stock."""
    return {
        "Region": region,
        "Zone": zone,
        "ProjectId": project,
        "GpuType": gpu,
        "MachineType": MACHINE,
        "MinimalCpuPlatform": section.cpu_platform,
        "CompShareImageId": image,
        "ChargeType": section.charge,
        "Disks": [{"IsBoot": True, "Type": section.disk_type, "Size": section.system_disk_gb}],
    }


def _cost(plan: Plan) -> tuple[bool, Decimal]:
    return plan.price is None, plan.price.per_hour if plan.price else Decimal(0)


def _too_dear(plan: Plan, limit: Decimal) -> NoStock:
    if plan.price is None:
        return NoStock(
            f"CompShare does not say what {plan.size} costs, so `max_price` cannot be kept",
            where="max_price",
            hint="leave `max_price` out, or choose another zone",
        )
    return NoStock(
        f"the cheapest box of {plan.size} ({plan.gpu}) costs {plan.price.per_hour} CNY an hour, "
        f"and `max_price` is {limit}",
        where="max_price",
        hint="raise `max_price`, or wait for the cheaper hours: `gpubox up NAME --wait 8h`",
    )
