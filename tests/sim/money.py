"""What simulated boxes cost, and what is left on the account."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_HOUR = Decimal(3600)


class Meter:
    """What one box has cost: an integral over its rates."""

    def __init__(self) -> None:
        self._rates: list[tuple[datetime, Decimal]] = []

    @property
    def rate(self) -> Decimal:
        """Per hour, now."""
        return self._rates[-1][1] if self._rates else Decimal(0)

    def set(self, at: datetime, per_hour: Decimal) -> None:
        """From `at` on it costs that much; `at` never goes back."""
        if per_hour != self.rate:
            self._rates.append((at, per_hour))

    def amount(self, now: datetime) -> Decimal:
        """Spent until `now`, not rounded."""
        if not self._rates:
            return Decimal(0)
        ends = [at for at, _ in self._rates[1:]] + [now]
        return sum(
            (
                rate * Decimal(str((end - at).total_seconds())) / _HOUR
                for (at, rate), end in zip(self._rates, ends, strict=True)
            ),
            Decimal(0),
        )


class Wallet:
    """An account that really falls with time: `deposit` less what its meters show."""

    def __init__(self, deposit: Decimal) -> None:
        self.deposit = deposit
        self.meters: dict[str, Meter] = {}

    def meter(self, ref: str) -> Meter:
        """The meter of the box `ref`, made if missing; it stays when the box is released."""
        return self.meters.setdefault(ref, Meter())

    def bill(self, ref: str, now: datetime) -> Decimal:
        """What that box has cost."""
        return self.meter(ref).amount(now)

    def spent(self, now: datetime) -> Decimal:
        """What all boxes have cost."""
        return sum((meter.amount(now) for meter in self.meters.values()), Decimal(0))

    def balance(self, now: datetime) -> Decimal:
        """May fall below zero, as it does where bills are settled by the hour."""
        return self.deposit - self.spent(now)

    def billing(self) -> list[str]:
        """The refs of the boxes that cost money now."""
        return [ref for ref, meter in self.meters.items() if meter.rate > 0]
