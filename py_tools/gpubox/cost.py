"""`gpubox cost`: what was spent, as the ledger reckons it, beside what the accounts say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from gpubox import accounts
from gpubox.asking import ask_each
from gpubox.errors import UsageError
from gpubox.ledger import Ledger
from gpubox.ledger.rates import spending, unpriced
from gpubox.words import money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubox.ledger import BalanceRecord, Bill, Spending, Unpriced

By = Literal["box", "day", "provider"]

_TIME_LIMIT = 20.0  # Of one question to an account, in seconds.
_FREE = frozenset({"local"})  # Nobody pays for this machine by the hour.
_A_CENT = Decimal("0.01")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class Line:
    """What one box, day (UTC) or provider has cost. `provider` is None for days."""

    key: str
    provider: str | None
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Rise:
    """A stretch over which an account's balance rose, by `rose`, although boxes cost `reckoned`."""

    since: datetime
    until: datetime
    rose: Decimal
    reckoned: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """What an account's balance did between the first and the last time that it was noted.

    `fell` and `reckoned` (by the ledger) are of the stretches in which the balance did not rise; `rises` are the
    others. Both are None when there is no such stretch.
    """

    provider: str
    currency: str
    first: BalanceRecord
    last: BalanceRecord
    fell: Decimal | None
    reckoned: Decimal | None
    rises: tuple[Rise, ...]

    @property
    def difference(self) -> Decimal | None:
        """How much more the balance fell than was reckoned."""
        return None if self.fell is None or self.reckoned is None else self.fell - self.reckoned


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent. `notes`: what these numbers cannot know. `warnings`: the accounts that did not answer."""

    since: datetime | None
    until: datetime
    by: By
    lines: tuple[Line, ...]
    totals: tuple[Line, ...]
    accounts: tuple[Account, ...]
    unpriced: tuple[Unpriced, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def cost(*, since: str | None = None, by: By = "box", offline: bool = False) -> Cost:
    """Reckon what was spent, and compare it with the accounts' balances, which are asked and noted first.

    `since` as in `moment`; `offline`: only the balances that were noted before. Raises `UsageError`.
    """
    with Ledger() as ledger:
        begin = moment(since, ledger.now()) if since is not None else None
        warnings, silent = ((), ()) if offline else _note_balances(ledger)
        now, bills, balances = ledger.now(), ledger.bills(), ledger.balances()
    spent = spending(bills, begin, now)
    unknown = tuple(row for row in unpriced(bills, begin, now) if row.provider not in _FREE)
    compared = compare(balances, bills, begin)
    return Cost(
        since=begin,
        until=now,
        by=by,
        lines=tuple(lines(spent, by)),
        totals=tuple(_sums(("total", None, row.currency, row.amount) for row in spent)),
        accounts=compared,
        unpriced=unknown,
        notes=(*notes(compared, unknown), *(f"`{name}` does not tell a balance to compare with" for name in silent)),
        warnings=warnings,
    )


def moment(text: str, now: datetime) -> datetime:
    """When `7d`, `12h`, `2w` ago was, or a date or time (UTC unless it says otherwise). Raises `UsageError`."""
    if ago := re.fullmatch(r"([0-9]{1,4})([hdw])", text.strip()):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"`{text}` is no time",
            where="--since",
            hint="write it as in `7d`, `12h`, `2026-11-01` or `2026-11-01T08:00`",
        ) from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def lines(spent: Sequence[Spending], by: By) -> list[Line]:
    """These sums by box, by day or by provider; days in order, the rest by name."""
    if by == "day":
        return _sums((row.day.isoformat(), None, row.currency, row.amount) for row in spent)
    if by == "provider":
        return _sums((row.provider, row.provider, row.currency, row.amount) for row in spent)
    return _sums((row.box, row.provider, row.currency, row.amount) for row in spent)


def compare(balances: Sequence[BalanceRecord], bills: Sequence[Bill], since: datetime | None) -> tuple[Account, ...]:
    """What each account's balance did since `since`, beside what the ledger reckons for the same time.

    Where fewer than two balances were noted since then, the one noted last before it is the beginning.
    """
    found: dict[tuple[str, str], list[BalanceRecord]] = {}
    for balance in balances:
        found.setdefault((balance.provider, balance.currency), []).append(balance)
    return tuple(_account(history, bills, since) for _, history in sorted(found.items()))


def notes(compared: Iterable[Account], unknown: Iterable[Unpriced]) -> list[str]:
    """What the numbers cannot know, in sentences."""
    told = [
        f"the price of `{row.box}` is not known: {row.seconds / 3600:.1f} h on `{row.provider}` are not in the sums"
        for row in unknown
    ]
    for account in compared:
        told += [_rise_words(account, rise) for rise in account.rises]
        if (words := _difference_words(account)) is not None:
            told.append(words)
    return told


def _note_balances(ledger: Ledger) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ask every configured account what is left, and keep it; warnings, and the accounts that tell no balance."""
    answers = ask_each(accounts.configured(), lambda source: source.balance(), limit=_TIME_LIMIT, what="the balance")
    silent = []
    for answer in answers:
        if answer.value is not None:
            ledger.note_balance(answer.provider, answer.value.amount, answer.value.currency)
        elif answer.error is None:
            silent.append(answer.provider)
    return tuple(answer.warning for answer in answers if answer.warning), tuple(silent)


def _sums(rows: Iterable[tuple[str, str | None, str, Decimal]]) -> list[Line]:
    found: dict[tuple[str, str | None, str], Decimal] = {}
    for key, provider, currency, amount in rows:
        found[key, provider, currency] = found.get((key, provider, currency), Decimal(0)) + amount
    ordered = sorted(found.items(), key=lambda item: tuple(map(str, item[0])))
    return [Line(key, provider, currency, amount) for (key, provider, currency), amount in ordered]


def _account(history: Sequence[BalanceRecord], bills: Sequence[Bill], since: datetime | None) -> Account:
    noted = [balance for balance in history if since is None or balance.at >= since]
    if len(noted) < 2:
        noted = list(history[-2:])
    provider, currency = noted[-1].provider, noted[-1].currency
    own = [bill for bill in bills if bill.record.provider == provider]
    fell, reckoned, rises = [], [], []
    for before, after in pairwise(noted):
        amount = sum((row.amount for row in spending(own, before.at, after.at) if row.currency == currency), Decimal(0))
        if after.amount > before.amount:
            rises.append(Rise(before.at, after.at, after.amount - before.amount, amount))
        else:
            fell.append(before.amount - after.amount)
            reckoned.append(amount)
    return Account(
        provider=provider,
        currency=currency,
        first=noted[0],
        last=noted[-1],
        fell=sum(fell, Decimal(0)) if fell else None,
        reckoned=sum(reckoned, Decimal(0)) if reckoned else None,
        rises=tuple(rises),
    )


def _rise_words(account: Account, rise: Rise) -> str:
    came = money(rise.rose + rise.reckoned, account.currency)
    return (
        f"`{account.provider}`: between {_time(rise.since)} and {_time(rise.until)} the balance rose by"
        f" {money(rise.rose, account.currency)}: money was put in, about {came} if what was reckoned for that time"
        " is right; that time is left out of the comparison"
    )


def _difference_words(account: Account) -> str | None:
    difference = account.difference
    if account.first == account.last:
        return f"`{account.provider}`: only one balance is known yet; it is compared with the next one"
    if difference is None or abs(difference) < _A_CENT:
        return None
    fell = f"`{account.provider}`: the balance fell by {money(abs(difference), account.currency)}"
    if difference > 0:
        return (
            f"{fell} more than was reckoned: a box that this ledger does not know (`gpubox sweep` shows them), disks"
            " and images that are billed beside the boxes, or another price"
        )
    return (
        f"{fell} less than was reckoned: the last hours may not be settled yet, a voucher or discount paid a part, a"
        " box ended before the ledger heard of it, or money was put in, less than was spent meanwhile, which a balance"
        " cannot show"
    )


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
