"""Which instance types there are, with which cards, and which of them a box file means."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gpubox.cards import same_card
from gpubox.errors import UsageError

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile

_FILE = Path(__file__).with_name("kinds.yml")


@dataclass(frozen=True, slots=True)
class Kind:
    """An instance type. Memory in GiB: `vram_gib` of one card, `ram_gib` of the whole box; `price` in USD per hour."""

    name: str
    gpu: str
    count: int
    vcpus: int
    ram_gib: int
    vram_gib: float
    price: Decimal


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What `kinds.yml` says; its prices hold in `regions`."""

    kinds: tuple[Kind, ...]
    instead: dict[str, tuple[str, ...]]
    regions: frozenset[str]
    disk_gib_month: Decimal
    address_hour: Decimal
    as_of: str

    def find(self, name: str) -> Kind | None:
        """The instance type of that name; None for one that is not listed."""
        return next((kind for kind in self.kinds if kind.name == name), None)

    def with_card(self, gpu: str) -> list[Kind]:
        """The types with that card, the cheapest first."""
        found = [kind for kind in self.kinds if same_card(gpu, kind.gpu, kind.vram_gib)]
        return sorted(found, key=lambda kind: kind.price)


@cache
def catalogue() -> Catalogue:
    """The list that comes with gpubox."""
    said = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    kinds = (
        Kind(name, family["gpu"], count, vcpus, ram, family["vram_gib"], Decimal(price))
        for family in said["families"]
        for name, (count, vcpus, ram, price) in family["types"].items()
    )
    return Catalogue(
        tuple(kinds),
        {card: tuple(others) for card, others in said["instead"].items()},
        frozenset(said["regions"]),
        Decimal(said["disk_gib_month"]),
        Decimal(said["address_hour"]),
        said["as_of"],
    )


def instance_type(box: BoxFile) -> str:
    """The type that the box file means: `ec2.instance_type`, else the cheapest with the cards of `gpu`.

    Raises `UsageError` when EC2 has no such card (naming the nearest) or not that many in one box.
    """
    assert box.ec2 is not None
    if box.ec2.instance_type is not None:
        return box.ec2.instance_type
    if box.gpu is None:
        raise UsageError(
            "the box file says neither `gpu` nor `ec2.instance_type`",
            where="ec2",
            hint="say which card, as in `gpu: {name: A10G}`, or which type, as in `ec2: {instance_type: g5.xlarge}`",
        )
    kinds = catalogue().with_card(box.gpu.name)
    if not kinds:
        raise _no_such_card(box.gpu.name)
    fitting = [kind for kind in kinds if kind.count == box.gpu.count]
    if fitting:
        return fitting[0].name
    counts = sorted({kind.count for kind in kinds})
    more = next((kind for kind in kinds if kind.count > box.gpu.count), None)
    raise UsageError(
        f"Amazon EC2 has boxes with {_either(counts)} {kinds[0].gpu}, not with {box.gpu.count}",
        where="gpu.count",
        hint=f"set `gpu.count: {more.count}` ({more.name})" if more else "rent several boxes, or another card",
    )


def nearest(gpu: str) -> list[Kind]:
    """For a card that EC2 does not have: the cheapest type of each card that comes near, the nearest first."""
    known = catalogue()
    names = next((others for card, others in known.instead.items() if same_card(card, gpu)), ())
    return [known.with_card(name)[0] for name in names]


def _no_such_card(gpu: str) -> UsageError:
    near = nearest(gpu)
    if not near:
        cards = list(dict.fromkeys(kind.gpu for kind in catalogue().kinds))
        return UsageError(
            f"Amazon EC2 has no {gpu}",
            where="gpu.name",
            hint=f"it has {', '.join(cards)}; other types can be named with `ec2.instance_type`",
        )
    said = " and ".join(f"{kind.gpu} ({kind.vram_gib:g} GiB, {kind.name})" for kind in near)
    return UsageError(
        f"Amazon EC2 has no {gpu}; the nearest {'is' if len(near) == 1 else 'are'} {said}",
        where="gpu.name",
        hint=f"set `gpu.name: {near[0].gpu}`",
    )


def _either(counts: list[int]) -> str:
    words = [str(count) for count in counts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
