"""The cards that AutoDL's Pro API rents, and the names that people call them by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CARDS = 4  # of one box


@dataclass(frozen=True, slots=True)
class Card:
    """One kind of card. Memory in GiB; `price` in CNY per hour, `ram_gib` and `vcpus` for each card of a box.

    None: not known before a box runs. `stock_name`: in the answer of the stock query; None: it has no such row.
    """

    spec: str
    name: str
    vram_gib: int
    other_names: tuple[str, ...] = ()
    price: Decimal | None = None
    ram_gib: int | None = None
    vcpus: int | None = None
    stock_name: str | None = None


# Ids: the Pro API's documentation. Prices: seen in September 2026, AutoDL changes them. What comes with a 4090 D: a
# four-card host of that series, where renters saw 64 threads and 480 GB; hosts differ, and preflight looks.
CARDS = (
    Card("4090D", "RTX 4090 D", 24, ("4090D-24G",), Decimal("1.88"), ram_gib=120, vcpus=16, stock_name="RTX 4090D"),
    Card("5090-p", "RTX 5090", 32, ("5090-32G",), Decimal("2.88"), stock_name="RTX 5090"),
    Card("pro6000-p", "RTX PRO 6000", 96, ("PRO6000-96G",), Decimal("5.98"), stock_name="RTX PRO 6000"),
    Card("h800", "H800", 80, ("H800-80G",), Decimal("8.88"), stock_name="H800"),
    Card("v-48g", "RTX 4090 48G", 48, ("vGPU-48GB",), stock_name="vGPU-48GB"),
    Card("v-48g-350w", "RTX 3090 48G", 48, ("vGPU-48GB-350W",), stock_name="vGPU-48GB-350W"),
    Card("v-32g-p", "RTX 4080 32G", 32, ("RTX 4080 S 32G", "vGPU-32GB"), stock_name="vGPU-32GB"),
)


def card(name: str) -> Card | None:
    """The card of that name or spec id; None when AutoDL's API rents none."""
    plain = _plain(name)
    return next((one for one in CARDS if plain in map(_plain, _names(one))), None)


def cards_like(name: str | None) -> list[Card]:
    """The cards that someone who asks for `name` may mean: `4090` is the 4090 D and the 4090 with 48 GB. None: all."""
    if name is None:
        return list(CARDS)
    if (exact := card(name)) is not None:
        return [exact]
    plain = _plain(name)
    return [one for one in CARDS if plain and plain in _plain(one.name)]


def unknown_card(name: str) -> str:
    """The sentence for a card that AutoDL's API does not rent: and the ones that are like it."""
    near = [one.name for one in cards_like(name)]
    if not near and (guess := did_you_mean(name, [word for one in CARDS for word in _names(one)])):
        near = [guess]
    meant = f"; did you mean {' or '.join(f'`{word}`' for word in near)}?" if near else ""
    return f'AutoDL\'s API rents no "{name}"{meant}'


def mistakes(name: str | None, count: int, spec: str | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """What AutoDL cannot rent of `gpu.name`, `gpu.count` and `autodl.gpu_spec` in a box file: field and sentence."""
    if spec is None and name is None:
        yield ("gpu",), f"`provider: autodl` has to know which card to rent: {card_names()}"
    elif spec is None and name is not None and card(name) is None:
        yield ("gpu", "name"), f"{unknown_card(name)} (it rents: {card_names()})"
    if count > MOST_CARDS:
        yield ("gpu", "count"), f"given {count}; AutoDL's API rents at most {MOST_CARDS} cards in one box"


def card_names() -> str:
    """All of them, for a hint."""
    return ", ".join(one.name for one in CARDS)


def _names(one: Card) -> tuple[str, ...]:
    return (one.spec, one.name, *one.other_names)


def _plain(name: str) -> str:
    """`NVIDIA GeForce RTX 4090-D` and `4090 d` are one."""
    word = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"nvidia|geforce|rtx", "", re.sub(r"(\d)gb$", r"\1g", word))
