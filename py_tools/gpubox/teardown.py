"""What a teardown works with, and what is said of one that does not come to its end: what still runs, and its cost."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox import snapshots
from gpubox.durations import in_words
from gpubox.errors import Failed, GpuboxError, Refused
from gpubox.history import about as history
from gpubox.releasing import bill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord, Ledger
    from gpubox.providers import Balance, Provider
    from gpubox.providers.clock import Clock
    from gpubox.takedown import Plan


@dataclass(frozen=True, slots=True)
class Teardown:
    """One `down`: what it works with, and where things go."""

    ledger: Ledger
    source: Provider
    board: Board
    results: Path | None
    to: Path | None
    discard: bool
    balance: Balance | None
    clock: Clock


def cannot_be_seen(teardown: Teardown, intent: Plan, reason: str, *, first: str | None = None) -> Refused:
    """Nobody could look at the box: since when, what is saved of it, what it costs; `first` is to be done first."""
    name, last, heard = intent.name, intent.last_backup, intent.last_heard
    record = teardown.ledger.get(name)
    since = f"it last answered at {heard:%Y-%m-%d %H:%M} UTC" if heard else "it has never answered"
    kept = f"the last backup is of {last.at:%Y-%m-%d %H:%M} UTC ({last.place})" if last else "nothing was backed up"
    if last is not None and (chats := history.kept_with(last.place)) is not None:
        kept += f": the web UI in it has {chats.words()}, and what was written there since is not here"
    if (snapshot := snapshots.newest(name)) is not None:
        kept += f"; {snapshot.words()}"
    cost = f"; it is still rented and costs {bill(record)}" if record.price_per_hour is not None else ""
    mend = f"`gpubox start {name}` and try again" if record.root else f"set it up with `gpubox up {name}`"
    return Refused(
        f"what exists only on the box cannot be seen ({reason}), and would be lost: {since}; {kept}{cost}",
        where=name,
        hint=f"{first + '; then ' if first else ''}{mend}, or give it up with `gpubox down {name} --discard`",
    )


@contextmanager
def saying_what_is_left(teardown: Teardown, name: str, *, but: type[GpuboxError] | tuple[()] = ()) -> Iterator[None]:
    """What goes wrong before the box is given back: it still runs, costs money, and nothing is lost.

    `but`: errors that say so themselves.
    """
    try:
        yield
    except but:
        raise
    except KeyboardInterrupt:
        teardown.board.note(f"{_what_is_left(teardown, name)}; `gpubox down {name}` goes on")
        raise
    except GpuboxError as error:
        # What went wrong with files is a failure; whatever else stands in the way keeps money flowing.
        kind = type(error) if isinstance(error, Failed | Refused) else Refused
        first = f"{error.hint}; then " if error.hint else ""
        raise kind(
            f"{error.message}; {_what_is_left(teardown, name)}",
            where=error.where or name,
            hint=f"{first}`gpubox down {name}` goes on where this ended",
        ) from error


def _what_is_left(teardown: Teardown, name: str) -> str:
    record = teardown.ledger.get(name)
    if not teardown.source.bills:
        return f"`{name}` was not given up"
    if record.provider_ref is None:
        return f"whether `{name}` was ever rented, and bills, is not known"
    rented = in_words(teardown.ledger.now() - record.created_at)
    return f"`{name}` is still rented (since {rented}), and bills {bill(record)}"


@contextmanager
def ending_in_a_refusal(record: BoxRecord) -> Iterator[None]:
    """What `give_back` raises says already what bills; a script is to see one exit code for it."""
    try:
        yield
    except Failed:
        raise
    except GpuboxError as error:
        raise Refused(
            error.message,
            where=error.where or record.name,
            hint=f"`gpubox down {record.name}` goes on where this ended",
        ) from error
