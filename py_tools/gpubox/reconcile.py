"""Boxes that were ordered, and nobody lived to note whether they were rented: the provider is asked by the order.

A create call that was cut off may have rented a box and may still be at it. Whoever finds such an intent in the ledger
calls `reconcile` before anything is rented, shown or given up under that name.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from gpubox.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpubox.ledger import Audit, BoxRecord, Ledger
    from gpubox.providers import Provider

# Until then a box that is not in the provider's list may still come: the client has given up on a create call after a
# minute at most, and the provider may go on with what it was told, and list it later.
GRACE = timedelta(minutes=3)

# rented: its ref is in the ledger now. nothing: no box came of it, the intent is closed (`released`), the name free.
# wait: it may still come, ask again `at`. busy: another gpubox is just renting it.
Verdict = Literal["rented", "nothing", "wait", "busy"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the order of one box."""

    name: str
    order: str
    verdict: Verdict
    ref: str | None = None
    at: datetime | None = None


def reconcile(
    ledger: Ledger,
    source: Provider,
    *,
    holding: str | None = None,
    now: Callable[[], datetime] | None = None,
    grace: timedelta = GRACE,
) -> list[Settled]:
    """Settle every order of this provider of which the ledger does not know what came; asks nothing without one.

    `holding`: only this box, whose lock the caller has. Raises what `Provider.find` raises; then nothing is settled
    that was not asked. A box that is found is `running` in the ledger: its price counts since the create call.
    """
    return settle(ledger, source.name, source.find, holding=holding, now=now, grace=grace)


def settle(
    ledger: Ledger,
    provider: str,
    find: Callable[[str], str | None],
    *,
    holding: str | None = None,
    now: Callable[[], datetime] | None = None,
    grace: timedelta = GRACE,
) -> list[Settled]:
    """The same, by a `find` of one's own: the provider's list, when that was asked for anyway."""
    open_orders = [
        record
        for record in ledger.boxes()
        if record.provider == provider and is_open(record) and holding in (None, record.name)
    ]
    return [_settle(ledger, record, find, held=holding is not None, now=now, grace=grace) for record in open_orders]


def is_open(record: BoxRecord) -> bool:
    """Whether a box was ordered, and the ledger does not know what came of it."""
    return record.state == "intended" and record.provider_ref is None and record.order is not None


def decide(*, ref: str | None, begun: datetime, now: datetime, grace: timedelta = GRACE) -> Verdict:
    """What a provider's answer says of an order whose create call began at `begun`; `ref`: the box of that order."""
    if ref is not None:
        return "rented"
    return "nothing" if now - begun > grace else "wait"


def begun_at(record: BoxRecord, audits: list[Audit]) -> datetime:
    """When the last create call for the box began; the time of the intent when none is on record."""
    return max((audit.at for audit in audits if audit.action == "create"), default=record.created_at)


def _settle(
    ledger: Ledger,
    seen: BoxRecord,
    find: Callable[[str], str | None],
    *,
    held: bool,
    now: Callable[[], datetime] | None,
    grace: timedelta,
) -> Settled:
    order = seen.order or ""
    with ExitStack() as stack:
        if not held:
            # Also `up` of another process, which shares its lock, keeps us from closing what it is about to rent.
            try:
                stack.enter_context(ledger.lock(seen.name))
            except Refused:
                return Settled(seen.name, order, "busy")
        record = ledger.find(seen.name)
        if record is None or record.order != seen.order or not is_open(record):
            return Settled(seen.name, order, "busy")  # Settled by another process between our two looks.
        begun = begun_at(record, ledger.audits(record.name))
        ref = find(order)
        verdict = decide(ref=ref, begun=begun, now=(now or ledger.now)(), grace=grace)
        if verdict == "rented":
            ledger.update(record.name, provider_ref=ref, state="running")
            ledger.audit(record.name, "create", "done", {"ref": ref, "found_by": order})
        elif verdict == "nothing":
            ledger.audit(record.name, "create", "failed", {"order": order, "reason": "the provider has no such box"})
            ledger.update(record.name, state="released")
        return Settled(record.name, order, verdict, ref, begun + grace if verdict == "wait" else None)
