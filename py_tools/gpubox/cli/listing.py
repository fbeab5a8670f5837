"""The table of `gpubox ls`: which columns, and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpubox.cli.show import column_widths, duration
from gpubox.words import money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from gpubox.listing import Listed

WIDTH = 100
_NOTHING = "-"


class Column(NamedTuple):
    """`always`: shown although no box has anything to say there. `cell` is empty for a box that has nothing."""

    head: str
    cell: Callable[[Listed], str]
    always: bool = False


def table(listed: Sequence[Listed]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the columns that some box needs. What is too wide for a screen goes without its least columns."""
    columns = [column for column in _COLUMNS if column.always or any(map(column.cell, listed))]
    for least in ("", *_LEAST):
        columns = [column for column in columns if column.head != least]
        head = [column.head for column in columns]
        rows = [[column.cell(item) or _NOTHING for column in columns] for item in listed]
        if sum(column_widths([head, *rows])) + 2 * (len(head) - 1) <= WIDTH:
            break
    return head, rows


def doubt_lines(listed: Sequence[Listed]) -> list[str]:
    """A sentence for each box that may be rented although nobody lived to write that down."""
    return [
        f"`{name}` was asked for, and how that ended is not known: `gpubox up {name}` goes on with it, `gpubox sweep`"
        " shows whether it is rented"
        for name in (item.record.name for item in listed if item.in_doubt)
    ]


def _state(item: Listed) -> str:
    return "in doubt" if item.in_doubt else item.record.state


def _gpu(item: Listed) -> str:
    count, gpu = item.record.gpu_count, item.record.gpu
    return "" if gpu is None else gpu if count in (None, 1) else f"{count} x {gpu}"


def _price(item: Listed) -> str:
    if item.record.state == "released" or item.per_hour is None:
        return ""
    return money(item.per_hour, item.record.currency)


def _spent(item: Listed) -> str:
    return "" if item.spent is None else money(item.spent, None)


def _left(item: Listed) -> str:
    return "" if item.budget_left is None or item.record.state == "released" else money(item.budget_left, None)


def _guard(item: Listed) -> str:
    return _until(item.record.guard_at, item.now) if item.record.state == "running" else ""


def _erased(item: Listed) -> str:
    return "" if item.record.state == "released" else _until(item.record.erase_at, item.now)


def _until(deadline: datetime | None, now: datetime) -> str:
    if deadline is None:
        return ""
    return f"in {duration((deadline - now).total_seconds())}" if deadline > now else "overdue"


_COLUMNS = (
    Column("NAME", lambda item: item.record.name, always=True),
    Column("PROVIDER", lambda item: item.record.provider, always=True),
    Column("STATE", _state, always=True),
    Column("AGE", lambda item: duration((item.now - item.record.created_at).total_seconds()), always=True),
    Column("GPU", _gpu),
    Column("PRICE/H", _price),
    Column("SPENT", _spent),
    Column("LEFT", _left),
    Column("GUARD", _guard),
    Column("ERASED", _erased),
    Column("LOGIN", lambda item: item.endpoint or ""),
)
_LEAST = ("LOGIN", "GPU", "PROVIDER", "AGE")  # What goes first where the screen is too narrow.
