"""A box that can be logged in to: rented, powered on or found again, and met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.errors import Failed, UnknownBox, UsageError
from gpubox.providers import provider
from gpubox.providers.base import Order
from gpubox.remote.first_contact import ensure_identity, first_contact

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.boxfile import BoxFile
    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord, Ledger
    from gpubox.providers import Provider, Rented, State

# How long another process may take to rent a box and log in to it, in seconds.
_RENTING = 600.0


def rent(ledger: Ledger, name: str, box: BoxFile, path: Path, board: Board) -> BoxRecord:
    """The box `name`, rented or powered on where that is needed, its endpoint and host key known.

    Raises `UnknownBox` for one that has to be added first, `UsageError` for one of another provider, `Failed` for one
    that its provider no longer has, and what the provider and the first login raise.
    """
    if (record := _met(ledger, name)) is not None:
        return ledger.update(name, box_file=path) if record.box_file != path else record
    # Another process that is just renting the same box: this one then finds it rented.
    with ledger.renting(name, wait=_RENTING):
        if (record := _met(ledger, name)) is not None:
            return record
        record = ledger.find(name) or _intend(ledger, name, box, path)
        if record.provider != box.provider:
            raise UsageError(
                f"the box file says provider `{box.provider}`, but `{name}` is a box of `{record.provider}`",
                where=str(path),
                hint=f"take it down first (`gpubox down {name}`), or give the box file another name",
            )
        source = provider(record.provider)
        if record.provider_ref is None:
            record = _create(ledger, record, box, source, board)
        return power_on(ledger, ledger.update(name, box_file=path), source, board)


def met(record: BoxRecord) -> bool:
    """Whether the box can be logged in to, as far as the ledger knows."""
    return record.state == "running" and record.host is not None and record.host_key is not None


def power_on(ledger: Ledger, record: BoxRecord, source: Provider, board: Board) -> BoxRecord:
    """The box when it runs and can be logged in to; its endpoint and price are read anew."""
    if state_of(record, source) in {"stopped", "stopping"}:
        with board.step("power on"):
            ledger.audit(record.name, "power_on", "begun")
            source.power_on(record)
            ledger.audit(record.name, "power_on", "done")
            # Where it answers may have moved.
            record = ledger.update(record.name, state="running", host=None, port=None)
    with board.step(f"a box from `{record.provider}`") as step:
        rented = source.ready(record, step.say)
        endpoint = rented.endpoint
        record = ledger.update(
            record.name,
            state="running",
            provider_ref=rented.ref,
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            **_price(rented),
        )
        step.say(f"{endpoint.user}@{endpoint.host}:{endpoint.port}")
    return _meet(ledger, record, rented, board)


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


def _intend(ledger: Ledger, name: str, box: BoxFile, path: Path) -> BoxRecord:
    if box.provider == "attach":
        raise UnknownBox(
            f"`{name}` has not been added yet", where=str(path), hint=f'gpubox add {name} "ssh -p PORT root@HOST"'
        )
    return ledger.add(name, box.provider, box_file=path, order=ledger.new_order(name))


def _create(ledger: Ledger, record: BoxRecord, box: BoxFile, source: Provider, board: Board) -> BoxRecord:
    assert record.order is not None
    with board.step(f"rent from `{record.provider}`") as step:
        ref = source.find(record.order)
        if ref is None:
            ledger.audit(record.name, "create", "begun", {"order": record.order})
            ref = source.create(Order(record.order, box))
        ledger.audit(record.name, "create", "done", {"ref": ref})
        step.say(ref)
    return ledger.update(record.name, provider_ref=ref, state="running")


def _price(rented: Rented) -> dict[str, object]:
    if rented.price is None:
        return {}
    return {
        "price_per_hour": rented.price.per_hour,
        "stopped_per_hour": rented.price.stopped_per_hour,
        "currency": rented.price.currency,
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
