"""What boxes cost: which rate holds since when, and what that comes to. Decisions over data; nothing is read here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.ledger.records import Rate, Spending, Unpriced

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import date

    from gpubox.ledger.records import Bill, BoxRecord

_HOUR = Decimal(3_600_000_000)  # In microseconds.
_PRICES = frozenset({"price_per_hour", "stopped_per_hour", "currency"})


def follow(rates: Sequence[Rate], record: BoxRecord, given: Collection[str], at: datetime) -> list[Rate]:
    """The rates of a box, oldest first, after it became `record` at `at`; `given`: the fields that were said anew.

    A price that is learned while the box runs holds since it was powered on, and since its create call for a new box.
    """
    told = bool(_PRICES.intersection(given)) and record.price_per_hour is not None
    known = [_priced(rate, record) if told and rate.per_hour is None else rate for rate in rates]
    if record.state == "intended":
        return known
    per_hour = _per_hour(record.state, record)
    assumed = per_hour is None or (record.state == "running" and not told)
    now = Rate(at, record.state, per_hour, record.currency, assumed)
    if not known or known[-1].state != record.state:
        return [*known, replace(now, at=max(at, known[-1].at) if known else at)]
    if "powered_off_at" in given and record.state == "stopped" and record.powered_off_at is not None:
        known = _stopped_since(known, record.powered_off_at)
    last = known[-1]
    if told and last.assumed:
        return [*known[:-1], replace(now, at=last.at)]
    if (last.per_hour, last.currency) == (per_hour, record.currency) or per_hour is None:
        return known
    return [*known, replace(now, at=max(at, last.at))]


def by_day(rates: Sequence[Rate], since: datetime | None, until: datetime) -> dict[tuple[date, str], Decimal]:
    """What these rates come to from `since` to `until`, per day (UTC) and currency; unknown prices are left out."""
    sums: dict[tuple[date, str], Decimal] = {}
    for rate, start, end in _stretches(rates, since, until):
        if rate.per_hour and rate.currency:
            for day, length in _days(start, end):
                amount = rate.per_hour * (length // timedelta(microseconds=1)) / _HOUR
                sums[day, rate.currency] = sums.get((day, rate.currency), Decimal(0)) + amount
    return sums


def total(rates: Sequence[Rate], until: datetime) -> Decimal | None:
    """What these rates come to until `until`; None when no price was ever known, or money of several currencies."""
    known = {rate.currency for rate in rates if rate.per_hour is not None and rate.currency is not None}
    if len(known) != 1:
        return None
    return sum(by_day(rates, None, until).values(), Decimal(0))


def spending(bills: Iterable[Bill], since: datetime | None, until: datetime) -> list[Spending]:
    """What each box has cost on each day from `since` to `until`; by day, then by name."""
    found: dict[tuple[date, str, str, str], Decimal] = {}
    for bill in bills:
        for (day, currency), amount in by_day(bill.rates, since, until).items():
            key = (day, bill.record.name, bill.record.provider, currency)
            found[key] = found.get(key, Decimal(0)) + amount
    return [
        Spending(box, provider, day, currency, found[day, box, provider, currency])
        for day, box, provider, currency in sorted(found)
    ]


def unpriced(bills: Iterable[Bill], since: datetime | None, until: datetime) -> list[Unpriced]:
    """For how long which boxes ran at an unknown price, from `since` to `until`."""
    found: dict[tuple[str, str], float] = {}
    for bill in bills:
        for rate, start, end in _stretches(bill.rates, since, until):
            if rate.per_hour is None and rate.state == "running":
                key = (bill.record.name, bill.record.provider)
                found[key] = found.get(key, 0.0) + (end - start).total_seconds()
    return [Unpriced(box, provider, seconds) for (box, provider), seconds in found.items()]


def _per_hour(state: str, record: BoxRecord) -> Decimal | None:
    if state == "released":
        return Decimal(0)
    if state == "running" or record.price_per_hour is None:
        return record.price_per_hour
    return record.stopped_per_hour or Decimal(0)


def _priced(rate: Rate, record: BoxRecord) -> Rate:
    return replace(rate, per_hour=_per_hour(rate.state, record), currency=record.currency, assumed=False)


def _stopped_since(rates: list[Rate], at: datetime) -> list[Rate]:
    """These rates, when the time for which the box is off began at another time than was thought."""
    first = len(rates)
    while first and rates[first - 1].state == "stopped":
        first -= 1
    earliest = rates[first - 1].at if first else at
    begun = max(at, earliest)
    moved = replace(rates[first], at=begun)
    return [*rates[:first], moved, *(replace(rate, at=max(rate.at, begun)) for rate in rates[first + 1 :])]


def _stretches(
    rates: Sequence[Rate], since: datetime | None, until: datetime
) -> Iterator[tuple[Rate, datetime, datetime]]:
    """Each rate with the time for which it held, between `since` and `until`."""
    ends = [*(rate.at for rate in rates[1:]), until]
    for rate, end in zip(rates, ends, strict=False):
        start = rate.at if since is None else max(rate.at, since)
        if start < min(end, until):
            yield rate, start, min(end, until)


def _days(start: datetime, end: datetime) -> Iterator[tuple[date, timedelta]]:
    """The days (UTC) from `start` to `end`, with how much of each lies between."""
    at = start.astimezone(UTC)
    while at < end:
        midnight = datetime.combine(at.date() + timedelta(days=1), datetime.min.time(), UTC)
        yield at.date(), min(midnight, end) - at
        at = midnight
