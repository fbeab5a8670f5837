"""What CompShare rents, and whether the account can rent it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.boxfile.compshare import Compshare
from gpubox.cards import same_card
from gpubox.errors import AuthFailed, Failed, GpuboxError, NoStock, UnknownRegion, Unreachable
from gpubox.preflight.findings import blocker, ok, warning
from gpubox.providers.base import Offer
from gpubox.providers.compshare import choice
from gpubox.providers.compshare.order import Plan, stock_question
from gpubox.words import counted

if TYPE_CHECKING:
    from gpubox.preflight import Finding
    from gpubox.providers.base import Wish
    from gpubox.providers.compshare.account import Account
    from gpubox.providers.compshare.order import Planner

# Of each size: GPUs, vCPUs, GiB of memory.
Stock = dict[tuple[int, int, int], bool | None]

_LOW = Decimal(10)  # CNY: some hours of the cheapest cards


def offers(planner: Planner, account: Account, wish: Wish) -> list[Offer]:
    """One offer for each zone, kind of card and sensible number of cards; stock is asked for a wished card only.

    Raises `UnknownRegion`.
    """
    found: list[Offer] = []
    for region, zone in _zones(account, wish):
        for kind in planner.kinds(region, zone):
            if wish.gpu is None or _is_wished(wish.gpu, kind):
                found += _of_kind(planner, account, region, kind, wish)
    return found


def check(account: Account) -> list[Finding]:
    """Judge the account: the keys, what they may see, and the money."""
    try:
        boxes = account.hosts()
    except AuthFailed as error:
        return [blocker("compshare: keys", error.message, error.hint or "")]
    except Unreachable as error:
        return [warning("compshare: reach", error.message, error.hint)]
    except Failed as error:
        return [blocker("compshare", error.message, error.hint or "")]
    findings = [ok("compshare: keys", f"accepted; the account has {counted(len(boxes), 'box', 'boxes')}")]
    try:
        balance = account.balance()
    except GpuboxError as error:
        return [*findings, warning("compshare: balance", error.message, error.hint)]
    if balance is None:
        said = "these keys may not see it; `gpubox cost` reckons without it"
        findings.append(ok("compshare: balance", said))
    elif balance.amount < _LOW:
        said = f"{balance.amount} {balance.currency}; boxes are stopped an hour after the first unpaid bill"
        findings.append(
            warning("compshare: balance", said, "top it up at https://console.compshare.cn/uaccount/costcenter")
        )
    else:
        findings.append(ok("compshare: balance", f"{balance.amount} {balance.currency}"))
    return findings


def _zones(account: Account, wish: Wish) -> list[tuple[str, str]]:
    """The wished region's, or all; a zone is a wish, too."""
    zones = account.zones()
    if wish.region is None:
        return zones
    wanted = wish.region.casefold()
    if chosen := [pair for pair in zones if wanted in (pair[0].casefold(), pair[1].casefold())]:
        return chosen
    known = tuple(sorted({name for pair in zones for name in pair}))
    raise UnknownRegion(
        f"CompShare has no region or zone `{wish.region}`",
        where="--region",
        hint="use one of " + ", ".join(f"`{name}`" for name in known),
        known=known,
    )


def _is_wished(wanted: str, kind: choice.Kind) -> bool:
    return wanted.casefold() == kind.name.casefold() or same_card(wanted, kind.name, kind.vram_gib) is not False


def _asked_stock(planner: Planner, account: Account, region: str, kind: choice.Kind) -> tuple[str | None, Stock | None]:
    """An image for the card, and what is in stock with it; None where only trying tells."""
    image: str | None = None
    try:
        image = planner.image(region, kind.zone, kind.name)
        sizes = planner.stock(stock_question(region, kind.zone, kind.name, image, Compshare(), account.projects()[0]))
    except NoStock:
        return image, {}
    except Failed:
        return image, None
    return image, {(size.gpus, size.cpus, size.ram_gib): size.enough for size in sizes}


def _of_kind(planner: Planner, account: Account, region: str, kind: choice.Kind, wish: Wish) -> list[Offer]:
    image, stock = None, None
    if wish.gpu is not None and not kind.sold_out:
        image, stock = _asked_stock(planner, account, region, kind)
    offered = []
    for size in choice.sizes_for(kind, count=wish.count, ram_gib=wish.ram_gib):
        plan = Plan(region, kind.zone, kind.name, size, image, Compshare(), None, account.projects()[0])
        offered.append(
            Offer(
                provider="compshare",
                sku=kind.name,
                gpu=kind.name,
                gpu_count=size.gpus,
                price=planner.price(plan),
                ram_gib=float(size.ram_gib),
                vcpus=size.cpus,
                vram_gib=kind.vram_gib * size.gpus if kind.vram_gib is not None else None,
                region=kind.zone,
                in_stock=_in_stock(kind, size, stock),
            )
        )
    return offered


def _in_stock(kind: choice.Kind, size: choice.Size, stock: Stock | None) -> bool | None:
    if kind.sold_out:
        return False
    return None if stock is None else stock.get((size.gpus, size.cpus, size.ram_gib), False)
