"""`gpubox sweep`: every box that every account has, beside what the ledger knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox import accounts
from gpubox.asking import Answer, ask_each, configured_accounts
from gpubox.errors import AuthFailed, GpuboxError, Refused, UsageError
from gpubox.funds import Funds, funds
from gpubox.ledger import BoxRecord, Ledger
from gpubox.providers import Alive, provider
from gpubox.providers.clock import WALL
from gpubox.reconcile import Settled, settle
from gpubox.releasing import give_back
from gpubox.sighting import Bill, Missing, Sighting, bills, changes, free_name, missing, sight
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from gpubox.ledger import BackupRecord, BoxState
    from gpubox.providers.clock import Clock

# In seconds. A list may have several pages, and a price of each box may be a call of its own.
TIME_LIMIT = 90.0
# What an account may have besides its list, for nobody shall take silence for an empty account.
UNSEEN = {
    "autodl": "AutoDL's API lists Pro boxes only: boxes that were rented on its web page are not seen, and may bill",
}


@dataclass(frozen=True, slots=True)
class Learned:
    """The ledger has learned something of a box that it knows: its state, or (`was` is `now`) a price or a deadline."""

    name: str
    was: BoxState
    now: BoxState


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep saw. `not_asked`: accounts that did not answer; what they have is not known.

    `troubles`: what went wrong with balances and messages, in sentences.
    """

    boxes: tuple[Sighting, ...]
    missing: tuple[Missing, ...]
    bills: tuple[Bill, ...]
    asked: tuple[str, ...]
    not_asked: tuple[Answer[list[Alive]], ...] = ()
    settled: tuple[Settled, ...] = ()
    learned: tuple[Learned, ...] = ()
    funds: tuple[Funds, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def unseen(self) -> tuple[str, ...]:
        """What no list of these accounts can show."""
        return tuple(UNSEEN[name] for name in self.asked if name in UNSEEN)

    @property
    def alarming(self) -> tuple[Sighting, ...]:
        """Boxes that cost money, and that the ledger does not know."""
        return tuple(seen for seen in self.boxes if seen.alarming)


@dataclass(frozen=True, slots=True)
class Given:
    """A box that was given back, and is gone; `spent` since it was made, as far as its price is known."""

    provider: str
    ref: str
    name: str
    gone_at: datetime
    spent: Decimal | None
    currency: str | None


def sweep(*, ignore: Sequence[str] = (), limit: float = TIME_LIMIT) -> Swept:
    """Ask every configured account at once, for `limit` seconds at most, and have the ledger learn of its boxes.

    `ignore`: refs (with `*`) of boxes that are somebody's other work: they neither alarm nor are offered. An account
    that does not answer is part of the result. Raises `AuthFailed` when there is no account to ask.
    """
    with Ledger() as ledger:
        before = ledger.boxes()
        answers = _ask(before, limit)
        lists = {answer.provider: answer.value for answer in answers if answer.value is not None}
        settled = [one for name, boxes in lists.items() for one in settle(ledger, name, _by_name(boxes))]
        learned = _learn(ledger, before, lists)
        after = ledger.boxes(include_released=True)
        found = sight(lists, after, ignore=ignore)
        left, troubles = funds(ledger, list(lists), found, limit=limit)
        return Swept(
            boxes=tuple(found),
            missing=tuple(missing(lists, before, after)),
            bills=tuple(bills(found)),
            asked=tuple(lists),
            not_asked=tuple(answer for answer in answers if answer.error is not None),
            settled=tuple(one for one in settled if one.verdict != "busy"),
            learned=tuple(learned),
            funds=tuple(left),
            troubles=tuple(troubles),
        )


def verdict(swept: Swept) -> GpuboxError | None:
    """`Refused` for a box that bills and is not in the ledger, else the trouble of an account; None: all is clear."""
    if swept.alarming:
        count = len(swept.alarming)
        refs = ", ".join(f"`{seen.ref}`" for seen in swept.alarming)
        return Refused(
            f"{'a box that bills is' if count == 1 else f'{count} boxes that bill are'} not in the ledger: {refs}",
            hint=f"`gpubox sweep --release {swept.alarming[0].ref}` gives it back, `--adopt ... --name NAME` keeps it",
        )
    errors = [(answer.provider, answer.error) for answer in swept.not_asked if answer.error is not None]
    if not errors:
        return None
    name, error = min(errors, key=lambda pair: not isinstance(pair[1], AuthFailed))
    return type(error)(f"what `{name}` has is not known: {error.message}", where=error.where, hint=error.hint)


def pick(swept: Swept, ref: str) -> Sighting:
    """The box that `ref` names, as in `autodl:pro-1`, `pro-1` or, without the region, `i-1`.

    Raises `UsageError` for none or several; when an account did not answer and might have it, what that said.
    """
    if found := [seen for seen in swept.boxes if ref in (seen.ref, seen.box.ref, seen.box.ref.rpartition("/")[2])]:
        if len(found) == 1:
            return found[0]
        raise UsageError(f"`{ref}` is a box of several accounts", hint="use " + ", ".join(f"`{x.ref}`" for x in found))
    if trouble := verdict(Swept((), (), (), (), swept.not_asked)):
        raise trouble
    refs = [seen.ref for seen in swept.boxes]
    near = did_you_mean(ref, refs)
    raise UsageError(
        f"no account has a box `{ref}`" + (f"; did you mean `{near}`?" if near else ""),
        hint=f"there are: {', '.join(refs)}" if refs else "no account has any box",
    )


def adopt(seen: Sighting, name: str) -> BoxRecord:
    """Write the box into the ledger as `name`, billed since it was made. Raises `UsageError` for a known one."""
    with Ledger() as ledger, ledger.lock(name):
        return _adopt(ledger, seen, name)


def suggested_name(seen: Sighting) -> str:
    """A name that is free in the ledger."""
    with Ledger() as ledger:
        return free_name(seen, {record.name for record in ledger.boxes()})


def last_backup(seen: Sighting) -> BackupRecord | None:
    """The last backup of a box that the ledger once knew."""
    with Ledger() as ledger:
        return ledger.last_backup(seen.name) if seen.mark == "released" and seen.name else None


def release(seen: Sighting, *, say: Callable[[str], None], clock: Clock = WALL) -> Given:
    """Take a box that the ledger does not know into it, and give it back with all that is on it.

    The caller has shown what is lost, and was told to. When a step fails the box stays in the ledger, and
    `gpubox down NAME` goes on. Raises `UsageError` for a known one, and what `give_back` raises.
    """
    name = suggested_name(seen)
    with Ledger() as ledger, ledger.lock(name):
        record = _adopt(ledger, seen, name)
        say(f"it is `{name}` in the ledger now")
        gone = give_back(ledger, record, provider(seen.provider), say=say, clock=clock)
        return Given(seen.provider, seen.box.ref, name, gone.updated_at, ledger.spent(name), gone.currency)


def _adopt(ledger: Ledger, seen: Sighting, name: str) -> BoxRecord:
    box = seen.box
    owner = ledger.by_ref(seen.provider, box.ref)
    if owner is not None and owner.state != "released":
        raise UsageError(
            f"`{seen.ref}` is the box `{owner.name}` of the ledger already", hint=f"`gpubox down {owner.name}`"
        )
    price = box.price
    # An order is of one box for ever; a box that was released and is alive has its order in its old row.
    order = box.name if seen.mark == "forgotten" and ledger.by_order(box.name) is None else None
    record = ledger.add(
        name,
        seen.provider,
        box.created_at,
        provider_ref=box.ref,
        state="stopped" if box.state == "stopped" else "running",
        order=order,
        gpu=box.gpu,
        gpu_count=box.gpu_count,
        region=box.region,
        price_per_hour=price.per_hour if price else None,
        stopped_per_hour=price.stopped_per_hour if price else None,
        currency=price.currency if price else None,
        erase_at=box.erase_at,
    )
    ledger.audit(name, "adopt", "done", {"ref": box.ref, "name_field": box.name, "was": seen.mark})
    return record


def _ask(records: list[BoxRecord], limit: float) -> list[Answer[list[Alive]]]:
    """The list of every account that we have keys for, or that has a box of ours."""
    ours = {record.provider for record in records if record.provider in accounts.NEEDED}
    names = list(dict.fromkeys([*accounts.configured(), *sorted(ours)])) or configured_accounts()
    return ask_each(names, lambda source: source.alive(), limit=limit, what="its list of boxes")


def _by_name(boxes: list[Alive]) -> Callable[[str], str | None]:
    return lambda order: next((box.ref for box in boxes if box.name == order), None)


def _learn(ledger: Ledger, before: list[BoxRecord], lists: dict[str, list[Alive]]) -> list[Learned]:
    """Note states, prices and deadlines of the boxes that the ledger knows.

    `before`: the ledger before the lists were asked for. A box that somebody changed since then is left as they said.
    """
    learned: list[Learned] = []
    for record in before:
        box = next((one for one in lists.get(record.provider, ()) if one.ref == record.provider_ref), None)
        if box is None or not (fields := changes(record, box)):
            continue
        try:
            with ledger.lock(record.name):
                if ledger.find(record.name) != record:
                    continue
                state = ledger.update(record.name, **fields).state
                if state != record.state:
                    ledger.audit(record.name, "sweep", "done", {"was": record.state, "is": state})
        except Refused:
            continue  # Somebody is working on it, and notes what becomes of it.
        learned.append(Learned(record.name, record.state, state))
    return learned
