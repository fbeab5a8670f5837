"""What the account has, may do and can rent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.boxfile.autodl_cards import MOST_CARDS, cards_like
from gpubox.errors import AuthFailed, Failed, UnknownRegion, Unreachable
from gpubox.preflight.findings import blocker, ok, warning
from gpubox.providers.autodl import rows
from gpubox.providers.autodl.client import unreadable
from gpubox.providers.autodl.refusals import WHERE, NotPermitted
from gpubox.providers.base import Offer, Price
from gpubox.words import counted

if TYPE_CHECKING:
    from gpubox.boxfile.autodl_cards import Card
    from gpubox.preflight import Finding
    from gpubox.providers.autodl.client import Api
    from gpubox.providers.base import Alive, Wish

# Where the API makes boxes; other names are refused.
DATA_CENTERS = ("westDC3", "beijingDC2")
_PAGE = 100
_TRIES = 4
_LOW = 10  # yuan: some hours of a 4090

_OLD_PRICE = "price as seen in 2026-09: AutoDL tells it only of a box that runs"


def boxes(api: Api) -> list[rows.Row]:
    """Every Pro box that is not released, newest first. Raises `Unreachable` when the list cannot be had whole."""
    return [rows.read(rows.Row, row, "list") for row in _whole(api, "list", "uuid")]


def images(api: Api) -> list[rows.Image]:
    """The private images, newest first."""
    return [rows.read(rows.Image, row, "images") for row in _whole(api, "images", "image_uuid")]


def alive(api: Api) -> list[Alive]:
    """The boxes with the prices of those that run."""
    return [rows.alive(row, _price(api, row) if row.status == "running" else None) for row in boxes(api)]


def wallet(api: Api) -> rows.Wallet:
    """The money of the account."""
    return rows.read(rows.Wallet, api.look("balance"), "balance")


def offers(api: Api, wish: Wish) -> list[Offer]:
    """One for each card, data centre and number of cards; what fits is the caller's to sift.

    Memory comes by the card, so a wish for memory is a reason to take more cards. Raises `UnknownRegion`.
    """
    least = min(max(wish.count, 1), MOST_CARDS)
    counts = range(least, MOST_CARDS + 1) if wish.ram_gib is not None else (least,)
    kinds = cards_like(wish.gpu)
    regions = [region for region in DATA_CENTERS if wish.region is None or region.lower() == wish.region.lower()]
    if not regions:
        raise UnknownRegion(
            f"AutoDL's API makes no boxes in `{wish.region}`",
            where="--region",
            hint="use " + " or ".join(f"`{region}`" for region in DATA_CENTERS),
            known=DATA_CENTERS,
        )
    idle = {region: _idle(api, region) for region in regions} if kinds else {}
    return [_offer(kind, count, region, idle[region]) for kind in kinds for region in regions for count in counts]


def check(api: Api) -> list[Finding]:
    """Judges token, verification and money; rents nothing."""
    fix = "see docs/provider-autodl.md"
    try:
        money = wallet(api)
    except (AuthFailed, Unreachable, Failed) as error:
        return [blocker("autodl-account", error.message, error.hint or fix)]
    found = [ok("autodl-account", "AutoDL accepts the developer token")]
    left, vouchers = rows.yuan(money.assets), rows.yuan(money.voucher_balance)
    text = f"{left:.2f} {rows.CURRENCY} on the account" + (f", vouchers of {vouchers:.2f}" if vouchers else "")
    low = left + vouchers < _LOW
    top_up = "top it up: without money boxes are powered off, or hang while they start"
    found.append(warning("autodl-balance", text, top_up) if low else ok("autodl-balance", text))
    try:
        count = len(boxes(api))
        found.append(ok("autodl-boxes", f"the Pro API may be used; the account has {counted(count, 'box', 'boxes')}"))
    except (AuthFailed, Unreachable, Failed) as error:
        found.append(blocker("autodl-boxes", error.message, error.hint or fix))
    try:
        _stock(api, DATA_CENTERS[0])
        found.append(ok("autodl-stock", "the stock query may be used"))
    except (AuthFailed, Unreachable, Failed) as error:
        found.append(warning("autodl-stock", f"no stock in `gpubox offers`: {error.message}", error.hint))
    return found


def _whole(api: Api, operation: str, key: str) -> list[dict[str, Any]]:
    """All rows of a paged list. A box that comes or goes meanwhile shifts the pages, so then all are read anew."""
    for _ in range(_TRIES):
        found: dict[str, dict[str, Any]] = {}
        totals: set[int] = set()
        index, pages = 1, 1
        while index <= pages:
            page = rows.read(rows.Page, api.look(operation, page_index=index, page_size=_PAGE), operation)
            if not all(isinstance(row.get(key), str) for row in page.list or ()):
                raise unreadable(operation)
            found |= {row[key]: row for row in page.list or ()}
            totals.add(page.result_total)
            index, pages = index + 1, page.max_page
        if totals == {len(found)}:
            return list(found.values())
    raise Unreachable(
        "AutoDL's list does not have as many rows as it says",
        where=f"{WHERE}, {operation}",
        hint="other boxes may be coming and going; try again in a minute",
    )


def _price(api: Api, row: rows.Row) -> Price | None:
    """None for one that went off or away since it was listed; a list of what bills must not fail on that."""
    try:
        return rows.read(rows.Snapshot, api.look("snapshot", instance_uuid=row.uuid), "snapshot").price
    except (Failed, Unreachable):
        return None


def _offer(kind: Card, count: int, region: str, idle: dict[str, int] | str) -> Offer:
    notes = [_OLD_PRICE] if kind.price is not None else ["AutoDL tells the price only of a box that runs"]
    in_stock = None
    if isinstance(idle, str):
        notes.append(idle)
    elif kind.stock_name in idle:
        # Counted for another part of AutoDL: cards there are a good sign, and none there says nothing of Pro boxes.
        free = idle[kind.stock_name]
        in_stock = True if free >= count else None
        notes.append(f"{free} cards idle by AutoDL's stock query, which does not count Pro boxes alone")
    if kind.ram_gib is not None:
        notes.append(f"about {kind.ram_gib} GiB of memory by the card, as renters saw it; hosts differ")
    return Offer(
        provider="autodl",
        sku=kind.spec,
        gpu=kind.name,
        gpu_count=count,
        price=Price(kind.price * count, rows.CURRENCY) if kind.price is not None else None,
        ram_gib=kind.ram_gib * count if kind.ram_gib is not None else None,
        vcpus=kind.vcpus * count if kind.vcpus is not None else None,
        vram_gib=float(kind.vram_gib * count),
        region=region,
        in_stock=in_stock,
        note="; ".join(notes),
    )


def _idle(api: Api, region: str) -> dict[str, int] | str:
    """Idle cards by name, or why nobody knows. Raises `AuthFailed` for a wrong token."""
    try:
        return _stock(api, region)
    except NotPermitted as error:
        return f"only trying tells whether there is one: {error.message}"
    except (Failed, Unreachable) as error:
        return f"only trying tells whether there is one: the stock query failed ({error.message})"


def _stock(api: Api, region: str) -> dict[str, int]:
    """By the stock query. The range of CUDA versions takes in every driver."""
    data = api.look("gpu_stock", region_sign=region, cuda_v_from=100, cuda_v_to=999)
    try:
        return {name: int(counts["idle_gpu_num"]) for row in data for name, counts in row.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unreadable("gpu_stock") from None
