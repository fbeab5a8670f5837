"""Which offers fit a wish, and what is wrong with the nearest when none does: decisions over data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.cards import same_card
from gpubox.errors import NoStock
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gpubox.providers import Offer, Wish

FILTERS = ("gpu", "count", "ram", "price", "region")
_FLAGS = {"gpu": "--gpu", "count": "--count", "ram": "--ram", "price": "--max-price", "region": "--region"}
_FAMILY = re.compile(r"\b(nvidia|geforce|rtx|gtx|tesla) *", re.IGNORECASE)
_MEMORY = re.compile(r" *\b[0-9]+ ?(g|gb|gib)\b", re.IGNORECASE)
_STOCK = {True: 0, None: 1, False: 2}


@dataclass(frozen=True, slots=True)
class Match:
    """An offer that fits. `unsure`: filters that it may or may not pass, for the provider does not say."""

    offer: Offer
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Miss:
    """A filter that the nearest offer fails: what was wanted, what it has, and how many offers pass that filter."""

    filter: str
    wanted: str
    has: str
    passing: int


@dataclass(frozen=True, slots=True)
class Sifted:
    """The offers that fit, best first; when none does, the nearest one and every filter that it fails."""

    matches: tuple[Match, ...]
    nearest: Offer | None = None
    misses: tuple[Miss, ...] = ()
    looked_at: int = 0
    cards: tuple[str, ...] = ()

    @property
    def to_rent(self) -> tuple[Match, ...]:
        """Those that are not known to be out of stock."""
        return tuple(match for match in self.matches if match.offer.in_stock is not False)


def sift(offers: Iterable[Offer], wish: Wish) -> Sifted:
    """The offers that fit the wish: what fits for sure first, what is out of stock last; by currency and price.

    Of one kind of box only the smallest number of cards that fits is kept, unless more of them cost less. What a
    provider does not say (a price, a size) is no reason against an offer; such a match names it as `unsure`.
    """
    # Once each: a list may have come twice, by the card and whole.
    every = tuple(dict.fromkeys(offers))
    judged = [(offer, _judge(offer, wish)) for offer in every]
    fits = [
        Match(offer, tuple(name for name in FILTERS if verdict[name] is None))
        for offer, verdict in judged
        if False not in verdict.values()
    ]
    cards = tuple(dict.fromkeys(sorted((offer.gpu for offer in every), key=str.casefold)))
    if fits or not every:
        return Sifted(tuple(sorted(_smallest(fits), key=_by_price)), looked_at=len(every), cards=cards)
    nearest, verdict = min(judged, key=lambda pair: _distance(pair[0], pair[1], wish))
    misses = tuple(
        Miss(name, *_words(name, nearest, wish), passing=sum(verdict[name] is not False for _, verdict in judged))
        for name in FILTERS
        if verdict[name] is False
    )
    return Sifted((), nearest, misses, len(every), cards)


def no_match(sifted: Sifted, wish: Wish) -> NoStock:
    """The error that says which filter failed and what the nearest offer has; or that everything is rented out."""
    if sifted.matches:
        count = "what fits is" if len(sifted.matches) == 1 else f"all {len(sifted.matches)} offers that fit are"
        return NoStock(f"{count} out of stock now", hint="`gpubox up NAME --wait 2h` tries until there is one")
    if sifted.nearest is None:
        return NoStock("no account offers anything", hint="`gpubox doctor` checks each account")
    if wish.gpu and any(miss.filter == "gpu" for miss in sifted.misses):
        # The families that many names share would make all of them look near.
        models = {_MEMORY.sub("", _FAMILY.sub("", name)): name for name in sifted.cards}
        near = did_you_mean(_FAMILY.sub("", wish.gpu), models)
        guess = f"; did you mean `{models[near]}`?" if near else ""
        return NoStock(f"no account rents a `{wish.gpu}`{guess}", hint=f"choose one of: {', '.join(sifted.cards)}")
    failed = " and ".join(f"{miss.filter} (wanted {miss.wanted}, has {miss.has})" for miss in sifted.misses)
    alone = [miss.filter for miss in sifted.misses if not miss.passing]
    none = f"; none of {sifted.looked_at} offers passes {' or '.join(alone)}" if alone else ""
    return NoStock(
        f"no offer fits. The nearest is {in_words(sifted.nearest)}, which fails {failed}{none}",
        hint=f"ask for less, or leave out {' or '.join(f'`{_FLAGS[miss.filter]}`' for miss in sifted.misses)}",
    )


def in_words(offer: Offer) -> str:
    """An offer in half a line: `autodl RTX 4090 x4 (480 GiB, 7.92 CNY/h)`."""
    ram = f"{offer.ram_gib:g} GiB" if offer.ram_gib is not None else "memory unknown"
    price = f"{offer.price.per_hour} {offer.price.currency}/h" if offer.price else "price unknown"
    return f"{offer.provider} {offer.gpu} x{offer.gpu_count} ({ram}, {price})"


def each(gib: float | None, offer: Offer) -> float | None:
    """What of a box's `gib` comes with one card; None when that is not known."""
    return gib / offer.gpu_count if gib is not None and offer.gpu_count else None


def _judge(offer: Offer, wish: Wish) -> dict[str, bool | None]:
    """Each filter's verdict; None when the provider does not say enough."""
    return {
        "gpu": _is_card(offer, wish.gpu),
        "count": offer.gpu_count >= wish.count,
        "ram": _at_least(offer.ram_gib, wish.ram_gib),
        "price": _at_most(offer.price.per_hour if offer.price else None, wish.max_price),
        "region": _in_region(offer.region, wish.region),
    }


def _is_card(offer: Offer, wanted: str | None) -> bool | None:
    if wanted is None or wanted.casefold() == offer.sku.casefold():
        return True
    return same_card(wanted, offer.gpu, each(offer.vram_gib, offer))


def _at_least(has: float | None, wanted: float | None) -> bool | None:
    if wanted is None:
        return True
    # A thousandth: 480 GB is 447.0348 GiB, and a provider may write 447.03.
    return None if has is None else has >= wanted * 0.999


def _at_most(has: Decimal | None, most: Decimal | None) -> bool | None:
    if most is None:
        return True
    return None if has is None else has <= most


def _in_region(has: str | None, wanted: str | None) -> bool | None:
    if wanted is None:
        return True
    if has is None:
        return None
    want = wanted.casefold()
    # A region holds zones (`cn-wlcb` has `cn-wlcb-01`, `us-east-1` has `us-east-1a`), and an offer may be of several.
    return any(
        part == want or re.fullmatch(re.escape(want) + r"(-\w+|[a-z])", part)
        for part in re.split(r"[,/\s]+", has.casefold())
    )


def _smallest(matches: Sequence[Match]) -> Iterator[Match]:
    """Without the bigger boxes of a kind that cost no less and are no easier to get than a smaller one that fits."""
    for match in matches:
        if not any(_makes_needless(other.offer, match.offer) for other in matches):
            yield match


def _makes_needless(small: Offer, big: Offer) -> bool:
    same = (small.provider, small.sku, small.gpu, small.region) == (big.provider, big.sku, big.gpu, big.region)
    if not same or small.gpu_count >= big.gpu_count or _STOCK[small.in_stock] > _STOCK[big.in_stock]:
        return False
    if small.price is None or big.price is None:
        return small.price is None and big.price is None
    return small.price.currency == big.price.currency and small.price.per_hour <= big.price.per_hour


def _by_price(match: Match) -> tuple[object, ...]:
    offer, price = match.offer, match.offer.price
    cost = (False, price.currency, price.per_hour) if price else (True, "", Decimal(0))
    rest = (offer.gpu_count, _STOCK[offer.in_stock], offer.provider, offer.gpu, offer.sku, offer.region or "")
    return (offer.in_stock is False, len(match.unsure), *cost, *rest)


def _distance(offer: Offer, verdict: dict[str, bool | None], wish: Wish) -> tuple[object, ...]:
    """Another card is farther than anything else; then the number of filters, then by how much they are missed."""
    failed = [name for name in FILTERS if verdict[name] is False]
    gap = 0.0
    if "count" in failed:
        gap += wish.count / offer.gpu_count - 1 if offer.gpu_count else wish.count
    if "ram" in failed and wish.ram_gib and offer.ram_gib:
        gap += wish.ram_gib / offer.ram_gib - 1
    if "price" in failed and wish.max_price is not None and offer.price is not None:
        gap += float(offer.price.per_hour - wish.max_price) / max(float(wish.max_price), 0.01)
    price = offer.price.per_hour if offer.price else Decimal("Infinity")
    return ("gpu" in failed, len(failed), gap, _STOCK[offer.in_stock], price, offer.provider, offer.sku)


def _words(name: str, offer: Offer, wish: Wish) -> tuple[str, str]:
    """What was wanted and what the offer has, of one filter."""
    if name == "gpu":
        return wish.gpu or "", offer.gpu
    if name == "count":
        return f"{wish.count} cards in one box", str(offer.gpu_count)
    if name == "ram":
        return f"{wish.ram_gib or 0:.0f} GiB", f"{offer.ram_gib or 0:.0f} GiB"
    if name == "price":
        price = offer.price
        return f"{wish.max_price} at most", f"{price.per_hour} {price.currency}/h" if price else "none"
    return wish.region or "", offer.region or "none"
