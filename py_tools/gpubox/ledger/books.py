"""The ledger's tables about money and backups: rows to records and back. Whoever calls holds the transaction."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.ledger.records import BackupRecord, BalanceRecord, Rate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_BILLED_FROM = ("create", "power_on")  # The audited calls that make a box bill.


def rates_of(connection: sqlite3.Connection, box_id: int) -> list[Rate]:
    """The rates of a box, oldest first."""
    rows = connection.execute(
        "SELECT at, state, per_hour, currency, assumed FROM rates WHERE box_id = ? ORDER BY id", (box_id,)
    )
    return [
        Rate(
            datetime.fromisoformat(at), state, None if per_hour is None else Decimal(per_hour), currency, bool(assumed)
        )
        for at, state, per_hour, currency, assumed in rows.fetchall()
    ]


def write_rates(connection: sqlite3.Connection, box_id: int, before: Sequence[Rate], after: Sequence[Rate]) -> None:
    """Make the rates of a box `after`, which were `before`; what did not change is not touched."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    connection.execute(
        "DELETE FROM rates WHERE id IN (SELECT id FROM rates WHERE box_id = ? ORDER BY id LIMIT -1 OFFSET ?)",
        (box_id, same),
    )
    connection.executemany(
        "INSERT INTO rates (box_id, at, state, per_hour, currency, assumed) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                box_id,
                rate.at.isoformat(),
                rate.state,
                None if rate.per_hour is None else f"{rate.per_hour.normalize():f}",
                rate.currency,
                int(rate.assumed),
            )
            for rate in after[same:]
        ],
    )


def last_call_to_bill(connection: sqlite3.Connection, box_id: int) -> datetime | None:
    """When the provider was last asked to rent this box, or to power it on."""
    row = connection.execute(
        "SELECT at FROM audits WHERE box_id = ? AND outcome = 'begun' AND action IN (?, ?) ORDER BY id DESC LIMIT 1",
        (box_id, *_BILLED_FROM),
    ).fetchone()
    return None if row is None else datetime.fromisoformat(row[0])


def insert_balance(connection: sqlite3.Connection, balance: BalanceRecord) -> None:
    """Add what an account had left."""
    values = balance.model_dump(mode="json")
    connection.execute(
        "INSERT INTO balances (provider, at, amount, currency) VALUES (:provider, :at, :amount, :currency)", values
    )


def balances_of(connection: sqlite3.Connection, provider: str | None) -> list[BalanceRecord]:
    """What an account, or every one, had left, oldest first."""
    rows = connection.execute(
        "SELECT provider, at, amount, currency FROM balances WHERE ?1 IS NULL OR provider = ?1 ORDER BY id", (provider,)
    )
    return [BalanceRecord.model_validate(dict(row)) for row in rows.fetchall()]


def insert_backup(connection: sqlite3.Connection, box_id: int, backup: BackupRecord) -> None:
    """Add a backup of a box."""
    values = {**backup.model_dump(mode="json"), "box_id": box_id}
    connection.execute(
        """
        INSERT INTO backups (box_id, at, place, files, size, sha256)
        VALUES (:box_id, :at, :place, :files, :size, :sha256)
        """,
        values,
    )


def newest_backup(connection: sqlite3.Connection, name: str, *, any_box: bool) -> BackupRecord | None:
    """The last backup of the newest box of that name; `any_box`: of an earlier box of that name, too."""
    row = connection.execute(
        """
        SELECT name, at, place, files, size, sha256 FROM backups JOIN boxes ON boxes.id = box_id
        WHERE name = ?1 AND (?2 OR box_id = (SELECT max(id) FROM boxes WHERE name = ?1))
        ORDER BY backups.id DESC LIMIT 1
        """,
        (name, any_box),
    ).fetchone()
    return None if row is None else BackupRecord.model_validate(dict(row))
