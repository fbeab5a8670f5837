"""Money before and after: the price cap of a box file, and what is left on the account."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.errors import Refused
from gpubox.providers import Wish
from gpubox.words import money

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import Ledger
    from gpubox.providers import Balance, Offer, Price, Provider


def cap(box: BoxFile) -> Decimal | None:
    """What the box may cost per hour, in the currency of its provider; None without a cap."""
    return Decimal(str(box.max_price)) if box.max_price is not None else None


def too_dear(price: Price | None, limit: Decimal | None) -> bool:
    """Whether a price is known and above the cap."""
    return price is not None and limit is not None and price.per_hour > limit


def asked(source: Provider, box: BoxFile) -> Price | None:
    """What the provider asks for such a box now; None when it does not tell that beforehand.

    The lowest price of all offers that may be meant, and only when every one of them has a price: a cap refuses
    nothing that may cost less.
    """
    gpu, count = (box.gpu.name, box.gpu.count) if box.gpu else (None, 1)
    sku = _sku(box)
    if gpu is None and sku is None:
        return None
    offers = source.offers(Wish(gpu=gpu, count=count))
    return lowest(offer for offer in offers if offer.gpu_count == count and sku in (None, offer.sku))


def lowest(offers: Iterable[Offer]) -> Price | None:
    """The lowest price of these offers; None when there is none, or when one of them has no price."""
    prices = [offer.price for offer in offers]
    known = [price for price in prices if price is not None]
    return min(known, key=lambda price: price.per_hour) if known and len(known) == len(prices) else None


def refusal(price: Price, limit: Decimal, where: str) -> Refused:
    """The error for an offer that is dearer than the cap; nothing has been rented."""
    now = money(price.per_hour, price.currency)
    return Refused(
        f"such a box costs {now} per hour now, more than `max_price: {plain(limit)}`; nothing was rented",
        where=where,
        hint="raise `max_price`, ask for another card (`gpubox offers`), or wait for a lower price with `--wait 2h`",
    )


def plain(limit: Decimal) -> str:
    """A cap as a person writes it: `2`, `1.5`."""
    return f"{limit.normalize():f}"


def note_balance(ledger: Ledger, source: Provider) -> Balance | None:
    """What is left on the account now, kept in the ledger too; None where the provider does not say.

    Raises what the provider raises: a good first question, for it costs nothing.
    """
    balance = source.balance() if source.bills else None
    if balance is not None:
        ledger.note_balance(source.name, balance.amount, balance.currency)
    return balance


def _sku(box: BoxFile) -> str | None:
    """The provider's own id of the kind of box, where the box file names it."""
    if box.autodl is not None:
        return box.autodl.gpu_spec
    return box.ec2.instance_type if box.ec2 is not None else None
