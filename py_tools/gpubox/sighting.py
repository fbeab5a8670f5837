"""What a sweep makes of the boxes that accounts list and the ledger knows: decisions over data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from gpubox.errors import UsageError
from gpubox.ledger import check_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gpubox.ledger import BoxRecord, BoxState
    from gpubox.providers import Alive

# known: a live box of the ledger. released: the ledger says that it was given back, and it is there.
# forgotten: named as gpubox names what it orders, and not in this ledger (another machine's, or one that was lost).
# unknown: somebody else's, or made by hand.
Mark = Literal["known", "released", "forgotten", "unknown"]

_ORDER = re.compile(r"gpubox-(?P<name>.+)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A box that an account has. `name`: in the ledger, or the one that it was ordered for.

    `per_hour`: what it costs now, in `currency`; None when nobody says. `ledger_state`: of a known box, when that is
    not what its provider shows. `ignored`: a person has said that it is no concern of gpubox.
    """

    provider: str
    box: Alive
    mark: Mark
    name: str | None
    per_hour: Decimal | None
    currency: str | None
    ledger_state: BoxState | None = None
    ignored: bool = False

    @property
    def ref(self) -> str:
        """Names it among all accounts: `autodl:pro-1`."""
        return f"{self.provider}:{self.box.ref}"

    @property
    def alarming(self) -> bool:
        """It costs money, and the ledger does not know that."""
        return self.strange and self.box.billing

    @property
    def strange(self) -> bool:
        """The ledger does not know it, and nobody has said that this is well."""
        return self.mark != "known" and not self.ignored


@dataclass(frozen=True, slots=True)
class Missing:
    """A box of the ledger that its provider no longer has."""

    name: str
    provider: str
    provider_ref: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What is billed now in one currency, per hour; of that, what the ledger does not know of; and boxes unpriced."""

    currency: str | None
    per_hour: Decimal
    alarming: Decimal
    unpriced: int


def sight(
    lists: Mapping[str, Sequence[Alive]], records: Iterable[BoxRecord], *, ignore: Sequence[str] = ()
) -> list[Sighting]:
    """Mark every box of these providers' lists; `records`: all of the ledger, released ones too.

    `ignore`: refs as in `ec2:us-east-1/i-1`, with `*`, of boxes that are somebody's other work. What needs a look comes
    first, then by provider.
    """
    # A box that was released, found alive and adopted stands there twice: the live row counts.
    rows = sorted(records, key=lambda row: row.state != "released")
    by_ref = {(row.provider, row.provider_ref): row for row in rows if row.provider_ref is not None}
    by_order = {(row.provider, row.order): row for row in rows if row.order is not None}
    found = [
        _sighting(provider, box, by_ref.get((provider, box.ref)), by_order.get((provider, box.name)))
        for provider, boxes in lists.items()
        for box in boxes
    ]
    # What was ordered by gpubox is its concern, whatever pattern it matches.
    found = [
        replace(one, ignored=True)
        if one.mark == "unknown" and any(fnmatchcase(one.ref, ref) for ref in ignore)
        else one
        for one in found
    ]
    marks = ("released", "forgotten", "unknown", "known")
    return sorted(
        found,
        key=lambda seen: (not seen.alarming, marks.index(seen.mark), seen.provider, seen.name or "", seen.box.ref),
    )


def missing(
    lists: Mapping[str, Collection[Alive]], before: Iterable[BoxRecord], after: Iterable[BoxRecord]
) -> list[Missing]:
    """The boxes that a list lacks, and that the ledger had `before` the lists were asked for and has still."""
    still = {(row.provider, row.provider_ref) for row in after if row.state != "released"}
    return [
        Missing(row.name, row.provider, row.provider_ref)
        for row in before
        if row.provider in lists
        and row.provider_ref is not None
        and row.state != "released"
        and (row.provider, row.provider_ref) in still
        and row.provider_ref not in {box.ref for box in lists[row.provider]}
    ]


def bills(found: Iterable[Sighting]) -> list[Bill]:
    """What all these boxes cost now, by currency; those of unknown price under their own."""
    sums: dict[str | None, Bill] = {}
    for seen in found:
        if not seen.box.billing:
            continue
        known = sums.get(seen.currency, Bill(seen.currency, Decimal(0), Decimal(0), 0))
        price = seen.per_hour or Decimal(0)
        sums[seen.currency] = Bill(
            seen.currency,
            known.per_hour + price,
            known.alarming + (price if seen.alarming else 0),
            known.unpriced + (seen.per_hour is None),
        )
    return sorted(sums.values(), key=lambda bill: bill.currency or "~")


def changes(record: BoxRecord, box: Alive) -> dict[str, object]:
    """What the ledger can learn from a provider's list about a box that it knows; a state only when that is sure."""
    learned: dict[str, object] = {}
    if (state := _ledger_state(box)) is not None and state != record.state:
        learned["state"] = state
        if state == "stopped" and box.stopped_at is not None:
            # Its guard, or somebody in the console: it has not been billed since then.
            learned["powered_off_at"] = max(box.stopped_at, record.created_at)
    if box.erase_at is not None and box.erase_at != record.erase_at:
        learned["erase_at"] = box.erase_at
    if record.gpu is None and box.gpu is not None:
        learned |= {"gpu": box.gpu, "gpu_count": box.gpu_count}
    if record.region is None and box.region is not None:
        learned["region"] = box.region
    price = box.price
    # Of a box that is off a list may show what another start would cost.
    if price is not None and (box.state == "running" or record.price_per_hour is None):
        told = {
            "price_per_hour": price.per_hour,
            "stopped_per_hour": price.stopped_per_hour,
            "currency": price.currency,
        }
        if told != {key: getattr(record, key) for key in told}:
            learned |= told
    return learned


def ordered_for(name_field: str) -> str | None:
    """The box name in a name field that gpubox wrote (`gpubox-<name>-<8 hex>`); None for any other."""
    said = _ORDER.fullmatch(name_field)
    if said is None:
        return None
    try:
        return check_name(said["name"])
    except UsageError:
        return None


def free_name(seen: Sighting, taken: Collection[str]) -> str:
    """A name for the box in the ledger: what it was ordered for, else one of its ref; with a number when taken."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", seen.box.ref).strip("-")[-24:].strip("-") or "box"
    wished = seen.name or f"{seen.provider}-{plain}"
    numbered = (f"{wished[:36]}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (wished, *numbered) if name not in taken)


def _sighting(provider: str, box: Alive, owner: BoxRecord | None, orderer: BoxRecord | None) -> Sighting:
    # An order stands for one box: a second one with that name field is not the ledger's, whatever its name says.
    if owner is None and orderer is not None and orderer.provider_ref in (None, box.ref):
        owner = orderer
    price = box.price
    per_hour, currency = (None, None) if price is None else (price.per_hour, price.currency)
    if price is not None and box.state == "stopped":
        per_hour = price.stopped_per_hour
    if owner is not None and per_hour is None:
        per_hour = owner.stopped_per_hour if box.state == "stopped" else owner.price_per_hour
        currency = owner.currency if per_hour is not None else None
    if not box.billing:
        per_hour = Decimal(0)
    if owner is None:
        name = ordered_for(box.name)
        return Sighting(provider, box, "forgotten" if name else "unknown", name, per_hour, currency)
    if owner.state == "released":
        return Sighting(provider, box, "released", owner.name, per_hour, currency)
    shown = _ledger_state(box)
    differs = owner.state if shown is not None and shown != owner.state else None
    return Sighting(provider, box, "known", owner.name, per_hour, currency, differs)


def _ledger_state(box: Alive) -> BoxState | None:
    """What the ledger would call it; None while it is on its way, or nobody can tell."""
    if box.state in ("running", "starting"):
        return "running"
    return "stopped" if box.state == "stopped" else None
