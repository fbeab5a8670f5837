"""A box that can be logged in to: rented, powered on or found again, and met; and its power."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpubox import notify, orders, prices
from gpubox.durations import in_words
from gpubox.errors import CannotStop, Failed, GpuboxError, NoStock, Refused, UnknownBox, Unreachable, UsageError
from gpubox.providers import provider
from gpubox.providers.clock import WALL
from gpubox.releasing import bill, give_back
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.stock import until_in_stock
from gpubox.words import money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from decimal import Decimal
    from pathlib import Path

    from gpubox.boxfile import BoxFile
    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord, Ledger
    from gpubox.providers import Price, Provider, Rented, State
    from gpubox.providers.clock import Clock

# How long another process may take to rent a box and log in to it, in seconds.
_RENTING = 600.0


def rent(
    ledger: Ledger,
    name: str,
    box: BoxFile,
    path: Path,
    board: Board,
    *,
    wait: timedelta | None = None,
    clock: Clock = WALL,
) -> BoxRecord:
    """The box `name`, rented or powered on where that is needed, its endpoint and host key known.

    `wait`: for how long a provider without stock is asked again. Raises `UnknownBox` for one that has to be added
    first, `UsageError` for one of another provider, `Failed` for one that its provider no longer has, `Refused` for one
    that is dearer than `max_price`, and what the provider and the first login raise.
    """
    if (record := _met(ledger, name)) is not None:
        return ledger.update(name, box_file=path) if record.box_file != path else record
    # Another process that is just renting the same box: this one then finds it rented.
    with ledger.renting(name, wait=_RENTING):
        if (record := _met(ledger, name)) is not None:
            return record
        record = ledger.find(name)
        _refuse_others(record, name, box, path)
        source = provider(box.provider)
        off, begun = record is None or record.state != "running", clock.now()
        if record is None or record.provider_ref is None:
            _rent(ledger, name, box, path, source, board, wait, clock)
        record, limit = ledger.update(name, box_file=path), prices.cap(box)
        record = power_on(ledger, record, source, board, limit=limit, wait=wait, clock=clock)
        if off and wait is not None:
            _tell(record, clock.now() - begun, board)
        return record


def met(record: BoxRecord) -> bool:
    """Whether the box can be logged in to, as far as the ledger knows."""
    return record.state == "running" and record.host is not None and record.host_key is not None


def power_on(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    board: Board,
    *,
    limit: Decimal | None = None,
    wait: timedelta | None = None,
    switch: Callable[[BoxRecord], None] | None = None,
    clock: Clock = WALL,
) -> BoxRecord:
    """The box when it runs and can be logged in to; its endpoint and price are read anew.

    Above the price `limit` per hour it is powered off again, and `Refused` raised. `wait`: as in `rent`. `switch`: how
    a box that is off is powered on, when not by `Provider.power_on`.
    """
    switch = switch or source.power_on
    if (state := state_of(record, source)) in {"stopped", "stopping"}:
        _refuse_dear_box(record, limit)
        with board.step("power on") as step:
            if state == "stopping":
                source.power_off(record)  # Waits for it.
            record = until_in_stock(
                lambda: _power_on(ledger, record, source, switch), wait=wait, say=step.say, clock=clock
            )
    with board.step(f"a box from `{record.provider}`") as step:
        with _saying_that_it_bills(ledger, record, source):
            rented = source.ready(record, step.say)
        endpoint = rented.endpoint
        record = ledger.update(
            record.name,
            state="running",
            provider_ref=rented.ref,
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            **_price(rented.price),
        )
        cost = f", {money(rented.price.per_hour, rented.price.currency)} per hour" if rented.price else ""
        step.say(f"{endpoint.user}@{endpoint.host}:{endpoint.port}{cost}")
    if rented.price is not None and limit is not None and prices.too_dear(rented.price, limit):
        raise _switched_off_again(ledger, record, source, board, rented.price, limit, clock)
    return _meet(ledger, record, rented, board)


def power_off(ledger: Ledger, record: BoxRecord, source: Provider) -> BoxRecord:
    """Power the box off, and see that it is; its disk stays. The ledger then knows since when, and until when it stays.

    Raises `Refused` when the provider says that it is done and the box still runs, and what the provider raises; both
    with what it costs.
    """
    detail = {"ref": record.provider_ref}
    ledger.audit(record.name, "power_off", "begun", detail)
    try:
        source.power_off(record)
        if (state := source.state(record)) not in {"stopped", "gone"}:
            raise Refused(f"`{record.provider}` said that it powered the box off, and shows it `{state}`")
    except GpuboxError as error:
        ledger.audit(record.name, "power_off", "failed", {**detail, "error": error.message})
        raise type(error)(
            f"{error.message}; `{record.name}` is not off, and bills ({bill(record)})",
            where=error.where or record.name,
            hint=error.hint or f"gpubox stop {record.name}",
        ) from error
    record = ledger.update(record.name, state="stopped")
    ledger.audit(record.name, "power_off", "done", detail)
    return record


def state_of(record: BoxRecord, source: Provider) -> State:
    """What the provider says of the box, `unknown` when it cannot tell. Raises `Failed` when it no longer has it."""
    state = source.state(record) if source.releases else "unknown"
    if state == "gone":
        raise Failed(
            f"`{record.provider}` no longer has the box `{record.name}`",
            where=record.name,
            hint=f"`gpubox down {record.name}` takes it off the ledger; then `gpubox up {record.name}` makes a new one",
        )
    return state


def _met(ledger: Ledger, name: str) -> BoxRecord | None:
    record = ledger.find(name)
    return record if record is not None and met(record) else None


def _refuse_others(record: BoxRecord | None, name: str, box: BoxFile, path: Path) -> None:
    if record is None and box.provider == "attach":
        raise UnknownBox(
            f"`{name}` has not been added yet", where=str(path), hint=f'gpubox add {name} "ssh -p PORT root@HOST"'
        )
    if record is not None and record.provider != box.provider:
        raise UsageError(
            f"the box file says provider `{box.provider}`, but `{name}` is a box of `{record.provider}`",
            where=str(path),
            hint=f"take it down first (`gpubox down {name}`), or give the box file another name",
        )


def _tell(record: BoxRecord, waited: timedelta, board: Board) -> None:
    """Whoever waits for a card has gone to do something else."""
    kind = f"{record.gpu} x {record.gpu_count}" if record.gpu else record.provider
    told = notify.got_box(record.name, kind=kind, price=record.price_per_hour, currency=record.currency, waited=waited)
    for trouble in told.troubles:
        board.note(f"no message was sent: {trouble}")


def _rent(
    ledger: Ledger,
    name: str,
    box: BoxFile,
    path: Path,
    source: Provider,
    board: Board,
    wait: timedelta | None,
    clock: Clock,
) -> None:
    with board.step(f"rent from `{box.provider}`") as step:
        record = orders.order(ledger, source, orders.Wanted(name, box, path, wait, step.say, clock))
        step.say(record.provider_ref or "")
    if source.bills and (box.guard is None or box.guard.ttl is None):
        board.note(
            f"the box file has no `guard.ttl`: `{name}` powers itself off after {in_words(orders.DEFAULT_TTL)}, "
            "laptop or no laptop"
        )


def _power_on(ledger: Ledger, record: BoxRecord, source: Provider, switch: Callable[[BoxRecord], None]) -> BoxRecord:
    ledger.audit(record.name, "power_on", "begun", {"ref": record.provider_ref})
    try:
        switch(record)
    except NoStock as error:
        ledger.audit(record.name, "power_on", "failed", {"error": error.message})
        raise _with_its_disk(record, error) from error
    except GpuboxError as error:
        # A call without an answer may have been heard.
        if not isinstance(error, Unreachable) or source.state(record) not in {"starting", "running"}:
            ledger.audit(record.name, "power_on", "failed", {"error": error.message})
            raise
    # Where it answers may have moved.
    record = ledger.update(record.name, state="running", host=None, port=None)
    ledger.audit(record.name, "power_on", "done", {"ref": record.provider_ref})
    return record


def _with_its_disk(record: BoxRecord, error: NoStock) -> NoStock:
    """No card is free for a box that is off: what that means for what is on its disk."""
    kept = f", and is deleted by its provider at {record.erase_at:%Y-%m-%d %H:%M} UTC" if record.erase_at else ""
    return NoStock(
        f"{error.message}; `{record.name}` stays off with everything on its disk{kept}",
        where=error.where or record.name,
        hint=f"`gpubox up {record.name} --wait 2h` tries until there is a card",
    )


@contextmanager
def _saying_that_it_bills(ledger: Ledger, record: BoxRecord, source: Provider) -> Iterator[None]:
    """Whatever is raised about a box that is on: it costs money meanwhile."""
    try:
        yield
    except GpuboxError as error:
        if not source.bills:
            raise
        ledger.audit(record.name, "ready", "failed", {"error": error.message})
        first = f"{error.hint}; " if error.hint else ""
        raise type(error)(
            f"{error.message}; `{record.name}` is rented all the same, and bills ({bill(record)})",
            where=error.where or record.name,
            hint=f"{first}`gpubox up {record.name}` tries again, `gpubox down {record.name}` gives it back",
        ) from error


def _refuse_dear_box(record: BoxRecord, limit: Decimal | None) -> None:
    """A box that was switched off for its price is not switched on for the same price."""
    if limit is not None and record.price_per_hour is not None and record.price_per_hour > limit:
        raise Refused(
            f"`{record.name}` costs {bill_running(record)}, more than `max_price: {prices.plain(limit)}`; it stays off",
            where=record.name,
            hint=_DEAR.format(name=record.name),
        )


_DEAR = "raise `max_price` in the box file and `gpubox up {name}`, or give it back: `gpubox down {name}`"


def bill_running(record: BoxRecord) -> str:
    """What the box costs while it runs: `1.98 CNY per hour`."""
    if record.price_per_hour is None:
        return "an unknown price"
    return f"{money(record.price_per_hour, record.currency)} per hour"


def _switched_off_again(
    ledger: Ledger, record: BoxRecord, source: Provider, board: Board, price: Price, limit: Decimal, clock: Clock
) -> Refused:
    try:
        with board.step("power off: dearer than `max_price`"):
            record = power_off(ledger, record, source)
    except CannotStop:
        # Of a box that gpubox has set up, and of one that it did not make, nobody here knows that it is empty.
        if record.root is not None or not any(audit.action == "create" for audit in ledger.audits(record.name)):
            raise
        return _given_back_again(ledger, record, source, board, price, limit, clock)
    now, off = money(price.per_hour, price.currency), money(price.stopped_per_hour, price.currency)
    return Refused(
        f"`{record.name}` costs {now} per hour, more than `max_price: {prices.plain(limit)}`: it was powered off at "
        f"once, and costs {off} per hour so",
        where=record.name,
        hint=_DEAR.format(name=record.name),
    )


def _given_back_again(
    ledger: Ledger, record: BoxRecord, source: Provider, board: Board, price: Price, limit: Decimal, clock: Clock
) -> Refused:
    """A spot box can only end; nothing is on one that was made a moment ago."""
    with board.step("give it back: dearer than `max_price`") as step:
        give_back(ledger, record, source, say=step.say, clock=clock)
    return Refused(
        f"`{record.name}` costs {money(price.per_hour, price.currency)} per hour, more than "
        f"`max_price: {prices.plain(limit)}`; it cannot be powered off, so it was given back at once, still empty",
        where=record.name,
        hint="raise `max_price` in the box file, or take another card or region: `gpubox offers` shows what they cost",
    )


def _price(price: Price | None) -> dict[str, object]:
    if price is None:
        return {}
    return {
        "price_per_hour": price.per_hour,
        "stopped_per_hour": price.stopped_per_hour,
        "currency": price.currency,
    }


def _meet(ledger: Ledger, record: BoxRecord, rented: Rented, board: Board) -> BoxRecord:
    with board.step("first contact") as step:
        identity = ensure_identity()
        seen: list[str] = []

        def accept(fingerprint: str, _key: str) -> bool:
            # The provider made this box for us a moment ago, and said where it is; nobody else has had a password.
            seen.append(fingerprint)
            return True

        host_key = first_contact(
            record.name,
            rented.endpoint,
            password=(lambda: rented.password or "") if rented.password else None,
            pinned=rented.host_key or record.host_key,
            accept=accept,
            identity_file=identity,
        )
        step.say(f"host key {seen[0]} pinned, key installed" if seen else "host key pinned, key installed")
    return ledger.update(record.name, host_key=host_key, identity_file=identity, state="running")
