"""How long the money on each account lasts at what its boxes cost now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox import notify
from gpubox.asking import ask_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubox.ledger import Ledger
    from gpubox.sighting import Sighting

# Long enough to be told in the evening, and to pay in the morning.
LEAST = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Funds:
    """What is left on an account; `lasts` at what its boxes cost now, None when nothing is billed in that currency."""

    provider: str
    amount: Decimal
    currency: str
    lasts: timedelta | None

    @property
    def low(self) -> bool:
        """Whether somebody should pay soon: a box without money is stopped, or ends with its disk."""
        return self.lasts is not None and self.lasts < LEAST


def funds(
    ledger: Ledger, names: Sequence[str], found: Iterable[Sighting], *, limit: float
) -> tuple[list[Funds], list[str]]:
    """Ask the accounts for their balances, note them in the ledger, and send a message when one has become low.

    `found`: the boxes of all accounts. An account that does not say its balance is left out. Also returned: what went
    wrong on the way, in sentences.
    """
    boxes = list(found)
    left, troubles = [], []
    for answer in ask_each(names, lambda source: source.balance(), limit=limit, what="its balance"):
        if answer.warning:
            troubles.append(answer.warning)
        if (balance := answer.value) is None:
            continue
        per_hour = _per_hour(boxes, answer.provider, balance.currency)
        before = ledger.balances(answer.provider)
        ledger.note_balance(answer.provider, balance.amount, balance.currency)
        now = Funds(answer.provider, balance.amount, balance.currency, lasts(balance.amount, per_hour))
        left.append(now)
        # Told when it becomes so, and not again by each sweep of a cron job.
        was_low = bool(before) and replace(now, amount=before[-1].amount, lasts=lasts(before[-1].amount, per_hour)).low
        if now.low and not was_low:
            troubles.extend(notify.balance_low(now.provider, now.amount, now.currency, now.lasts).troubles)
    return left, troubles


def lasts(amount: Decimal, per_hour: Decimal) -> timedelta | None:
    """How long `amount` pays for `per_hour`, nothing for a debt; None when nothing is to be paid."""
    if per_hour <= 0:
        return None
    hours = min(max(amount, Decimal(0)) / per_hour, Decimal(10**6))
    return timedelta(hours=float(hours))


def _per_hour(boxes: Iterable[Sighting], provider: str, currency: str) -> Decimal:
    mine = (seen for seen in boxes if seen.provider == provider and seen.currency == currency and seen.box.billing)
    return sum((seen.per_hour or Decimal(0) for seen in mine), Decimal(0))
