"""Give a rented box back, and believe that it is gone only when the provider's list no longer has it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpubox.errors import CannotStop, Failed, GpuboxError, Refused
from gpubox.providers.clock import WALL, pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.ledger import BoxRecord, Ledger
    from gpubox.providers import Provider
    from gpubox.providers.clock import Clock

# In seconds. A release is done within a few; a list that still shows the box after this is told to a person.
UNTIL_GONE = 180.0


def give_back(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    *,
    say: Callable[[str], None],
    clock: Clock = WALL,
    closing: Callable[[BoxRecord], None] | None = None,
) -> BoxRecord:
    """Power the box off, release it, wait until it is gone, and close it in the ledger; each step is an audit row.

    The caller holds its lock, and has saved what is on it. Nothing to do for what is off or gone. `closing` is called
    when it is gone and the ledger still has it: whoever is killed there is called again. Raises `Refused` when the
    provider says yes and the box stays, and what the provider raises; both with what still bills. Again is safe.
    """
    with _saying_that_it_bills(record):
        state = source.state(record)
    if state != "gone":
        if state != "stopped":
            say("powering it off")
            record = _power_off(ledger, record, source)
        say("releasing it")
        with _step(ledger, record, "release"):
            _release(record, source, clock, say)
    ledger.audit(record.name, "gone", "done", {"ref": record.provider_ref})
    if closing is not None:
        closing(record)
    return ledger.update(record.name, state="released")


def bill(record: BoxRecord) -> str:
    """What the box costs in the state that the ledger knows: `1.98 CNY per hour`."""
    price = record.stopped_per_hour if record.state == "stopped" else record.price_per_hour
    return "at a price that is not known" if price is None else f"{price} {record.currency} per hour"


def _power_off(ledger: Ledger, record: BoxRecord, source: Provider) -> BoxRecord:
    """The box, off now; one that cannot be is released while it runs."""
    try:
        with _step(ledger, record, "power_off"):
            source.power_off(record)
    except CannotStop:
        return record
    return ledger.update(record.name, state="stopped")


def _release(record: BoxRecord, source: Provider, clock: Clock, say: Callable[[str], None]) -> None:
    try:
        source.release(record)
    except Failed:
        # A call that was answered twice, or somebody else was quicker: what counts is whether it is there.
        if source.state(record) != "gone":
            raise
        return
    for _ in pauses(clock, UNTIL_GONE):
        if source.state(record) == "gone":
            return
        say("waiting until its provider no longer lists it")
    raise Refused(
        f"`{record.provider}` said that it released the box `{record.provider_ref}`, and still lists it",
        where=record.name,
    )


@contextmanager
def _step(ledger: Ledger, record: BoxRecord, action: str) -> Iterator[None]:
    detail = {"ref": record.provider_ref}
    ledger.audit(record.name, action, "begun", detail)
    with _saying_that_it_bills(record):
        try:
            yield
        except GpuboxError as error:
            ledger.audit(record.name, action, "failed", {**detail, "error": error.message})
            raise
    ledger.audit(record.name, action, "done", detail)


@contextmanager
def _saying_that_it_bills(record: BoxRecord) -> Iterator[None]:
    try:
        yield
    except GpuboxError as error:
        raise type(error)(
            f"{error.message}; the box is not gone, and bills ({bill(record)})",
            where=error.where or record.name,
            hint=error.hint or f"`gpubox down {record.name}` goes on where this ended",
        ) from error
