"""One order, one box: the intent, the create call, and what became of it when nobody could see that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gpubox import prices, reconcile
from gpubox.durations import duration, in_words
from gpubox.errors import GpuboxError, NoStock, Unreachable
from gpubox.interrupts import held_back
from gpubox.providers import Order
from gpubox.providers.clock import WALL
from gpubox.releasing import bill, give_back
from gpubox.stock import until_in_stock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord, Ledger
    from gpubox.providers import Provider
    from gpubox.providers.clock import Clock

# Without a `guard.ttl`: long enough for a day's work, short enough that a lost laptop does not cost a month.
DEFAULT_TTL = timedelta(hours=24)
# After a create call without an answer; see `reconcile`.
GRACE = reconcile.GRACE
# Between two looks at the provider's list, in seconds.
_LOOK_AGAIN = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be rented under which name, for how long stock is waited for (None: not at all), and who is told."""

    name: str
    box: BoxFile
    path: Path
    wait: timedelta | None
    say: Callable[[str], None]
    clock: Clock = WALL


def first_guard(box: BoxFile, source: Provider) -> timedelta | None:
    """After what time the guard that goes in with the create call powers the box off; None where nothing is billed."""
    if box.guard is not None and box.guard.ttl is not None:
        return duration(box.guard.ttl)
    return DEFAULT_TTL if source.bills else None


def order(ledger: Ledger, source: Provider, wanted: Wanted) -> BoxRecord:
    """The box `wanted.name`, rented: one that an earlier, interrupted run has rented under that name, or a new one.

    Never two: the provider is asked for the earlier one first. Ctrl-C leaves nothing rented. Raises `NoStock`,
    `Refused` for a price above the cap, and what the provider raises; then nothing is rented, or the error says that
    nobody can tell, and the ledger keeps the intent.
    """
    try:
        prices.note_balance(ledger, source)
        return until_in_stock(
            lambda: _attempt(ledger, source, wanted), wait=wanted.wait, say=wanted.say, clock=wanted.clock
        )
    except KeyboardInterrupt:
        _undo(ledger, source, wanted)
        raise
    except GpuboxError:
        withdraw(ledger, wanted.name)
        raise


def settle(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    *,
    say: Callable[[str], None],
    clock: Clock = WALL,
    grace: timedelta | None = None,
) -> BoxRecord | None:
    """The box that came of an order whose end nobody has noted; None when none did, and then the intent is closed.

    A box that is not in the provider's list may still come to be there: it is looked for until `grace` is over. The
    caller holds the box's lock. Raises `Unreachable` when the provider does not answer.
    """
    if not is_doubtful(ledger, record):
        withdraw(ledger, record.name)
        return None
    while True:
        (settled,) = reconcile.reconcile(
            ledger,
            source,
            holding=record.name,
            now=ledger.now,
            grace=(grace or GRACE) if source.bills else timedelta(0),
        )
        if settled.verdict == "rented":
            return ledger.get(record.name)
        if settled.at is None:
            return None
        left = settled.at - ledger.now()
        say(f"an earlier call to rent it had no answer; looking for the box for another {in_words(left)}")
        clock.sleep(min(_LOOK_AGAIN, max(left.total_seconds(), 0.05)))


def is_doubtful(ledger: Ledger, record: BoxRecord) -> bool:
    """Whether the provider was asked to rent this box, and the ledger does not know what came of it."""
    calls = [audit for audit in ledger.audits(record.name) if audit.action == "create"]
    return reconcile.is_open(record) and bool(calls) and calls[-1].outcome == "begun"


def withdraw(ledger: Ledger, name: str) -> None:
    """Close the intent of a box that was certainly not rented; its name is free again."""
    record = ledger.find(name)
    if record is not None and record.provider_ref is None and not is_doubtful(ledger, record):
        ledger.update(name, state="released")


def _attempt(ledger: Ledger, source: Provider, wanted: Wanted) -> BoxRecord:
    record = ledger.find(wanted.name)
    if record is not None and record.provider_ref is not None:
        return record
    if record is not None and is_doubtful(ledger, record):
        record = settle(ledger, record, source, say=wanted.say, clock=wanted.clock)
        if record is not None:
            return record
    _hold_the_cap(source, wanted)
    return _create(ledger, _intend(ledger, record, wanted), source, wanted)


def _hold_the_cap(source: Provider, wanted: Wanted) -> None:
    limit = prices.cap(wanted.box)
    if limit is None:
        return
    price = prices.asked(source, wanted.box)
    if price is None or not prices.too_dear(price, limit):
        return
    no = prices.refusal(price, limit, str(wanted.path))
    if wanted.wait is None:
        raise no
    # Prices fall, and cheaper boxes become free: waited for as stock is.
    raise NoStock(no.message, where=no.where, hint=no.hint)


def _intend(ledger: Ledger, record: BoxRecord | None, wanted: Wanted) -> BoxRecord:
    """The intent, with a name that no call has used: two calls of one name could make two boxes of that name."""
    fresh = ledger.new_order(wanted.name)
    if record is not None:
        return ledger.update(wanted.name, order=fresh, box_file=wanted.path)
    gpu, guard = wanted.box.gpu, wanted.box.guard
    return ledger.add(
        wanted.name,
        wanted.box.provider,
        order=fresh,
        box_file=wanted.path,
        gpu=gpu.name if gpu else None,
        gpu_count=gpu.count if gpu else None,
        budget=str(guard.budget) if guard and guard.budget else None,
    )


def _create(ledger: Ledger, record: BoxRecord, source: Provider, wanted: Wanted) -> BoxRecord:
    assert record.order is not None
    name, after = record.name, first_guard(wanted.box, source)
    with held_back(wanted.say):
        ledger.audit(name, "create", "begun", {"order": record.order})
        begun = ledger.now()
        try:
            ref = source.create(Order(record.order, wanted.box, after))
        except Unreachable as error:
            unclear: GpuboxError = error
        except GpuboxError as error:
            ledger.audit(name, "create", "failed", {"order": record.order, "error": error.message})
            raise
        else:
            return _rented(ledger, name, ref, begun + after if after else None)
    found = _find(ledger, record, source, wanted, unclear)
    return ledger.update(name, guard_at=begun + after) if after else found


def _rented(ledger: Ledger, name: str, ref: str, guard_at: datetime | None) -> BoxRecord:
    record = ledger.update(name, provider_ref=ref, state="running", guard_at=guard_at)
    ledger.audit(name, "create", "done", {"ref": ref})
    return record


def _find(ledger: Ledger, record: BoxRecord, source: Provider, wanted: Wanted, unclear: GpuboxError) -> BoxRecord:
    """The box of a create call that had no answer. Raises `Unreachable` when there is none, or nobody can tell."""
    try:
        found = settle(ledger, record, source, say=wanted.say, clock=wanted.clock)
    except Unreachable as error:
        raise Unreachable(
            f"nobody can tell whether `{record.name}` was rented: {unclear.message}; and then: {error.message}",
            where=record.name,
            hint=f"`gpubox up {record.name}` looks for it before renting anything; `gpubox sweep` shows what is rented",
        ) from error
    if found is None:
        raise Unreachable(
            f"{unclear.message}; `{record.provider}` has no such box, so nothing was rented",
            where=unclear.where,
            hint=unclear.hint,
        ) from unclear
    return found


def _undo(ledger: Ledger, source: Provider, wanted: Wanted) -> None:
    """After Ctrl-C: nothing stays rented."""
    record = ledger.find(wanted.name)
    if record is None or record.provider_ref is None:
        withdraw(ledger, wanted.name)
        return
    wanted.say(f"interrupted just as it was rented ({bill(record)}); giving it back")
    give_back(ledger, record, source, say=wanted.say, clock=wanted.clock)
