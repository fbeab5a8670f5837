"""A box that does not answer where the ledger has it: its provider is asked where it is now, and it is tried there.

Whoever restarts a box in its provider's console moves its port or its address, and who opens their laptop elsewhere is
shut out by its security group. None of that is asked for as long as the box answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gpubox.errors import Failed, GpuboxError, HostKeyChanged, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.providers import State

Done = TypeVar("Done")


def _mute(_words: str) -> None:
    """For callers that show nothing."""


def reach(record: BoxRecord, act: Callable[[BoxRecord], Done], say: Callable[[str], None] = _mute) -> Done:
    """What `act` does with the box; when it cannot be reached, once more where its provider shows it now.

    `act` may run twice. Raises what it raises, and what `found_again` raises.
    """
    try:
        return act(record)
    # A gateway gives the port of a box that has moved to another one, which shows a key of its own.
    except (Unreachable, HostKeyChanged) as error:
        record = found_again(record, error, say)
    return act(record)


def found_again(record: BoxRecord, error: GpuboxError, say: Callable[[str], None] = _mute) -> BoxRecord:
    """The box as the ledger has it from now on, with the place that its provider tells; `say` hears what is new.

    Raises `error`, which led here, where its provider knows nothing better; `Unreachable` for a box that is off, and
    `Failed` for one that is gone, with what is to be done.
    """
    source = provider(record.provider)
    if not source.releases or record.provider_ref is None or record.state == "released":
        raise error
    try:
        found = source.whereabouts(record)
        state = "running" if found is not None else source.state(record)
    except GpuboxError as trouble:
        raise type(error)(
            f"{error.message}; nor can `{record.provider}` say where it is: {trouble.message}",
            where=error.where or record.name,
            hint=trouble.hint or error.hint,
        ) from trouble
    if found is None:
        raise _not_running(record, state) or error
    here, there = (record.host, record.port), (found.endpoint.host, found.endpoint.port)
    if here == there and not found.let_in:
        raise error
    moved = f"`{record.name}` answers at {found.endpoint} now" if here != there else ""
    let_in = "its security group now admits this machine's address" if found.let_in else ""
    say("; ".join(words for words in (moved, let_in) if words))
    with Ledger() as ledger:
        return ledger.update(record.name, state="running", host=there[0], port=there[1], user=found.endpoint.user)


def _not_running(record: BoxRecord, state: State) -> GpuboxError | None:
    """What a box that does not run is told as; None where that does not say why it does not answer."""
    name = record.name
    if state == "gone":
        return Failed(
            f"`{record.provider}` no longer has the box `{name}`",
            where=name,
            hint=f"`gpubox down {name}` takes it off the ledger",
        )
    if state not in {"stopped", "stopping"}:
        return None
    if state == "stopped" and record.state == "running":
        with Ledger() as ledger:
            ledger.update(name, state="stopped")  # By its guard, or in its provider's console.
    return Unreachable(f"`{name}` is powered off", where=name, hint=f"gpubox start {name}")
