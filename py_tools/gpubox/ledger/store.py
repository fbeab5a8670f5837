"""The ledger's SQLite file."""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self

from gpubox import paths
from gpubox.errors import Refused, UnknownBox, UsageError
from gpubox.ledger import books, locks, rates
from gpubox.ledger.file import explained, open_file
from gpubox.ledger.records import (
    Audit,
    BackupRecord,
    BalanceRecord,
    Bill,
    BoxRecord,
    Outcome,
    Spending,
    Unpriced,
    check_name,
)
from gpubox.words import did_you_mean, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal
    from pathlib import Path
    from types import TracebackType

_FIELDS = tuple(BoxRecord.model_fields)
_SETTABLE = frozenset(_FIELDS) - {"name", "created_at", "updated_at"}


class Ledger:
    """The ledger at `path`, by default `ledger.sqlite3` in gpubox's data directory; made if missing, 0600.

    Each method is one transaction: a process that is killed leaves the row as it was or as it shall be. Several
    processes may use the file at once. Raises `Failed` for a file that is broken, read-only or from a newer gpubox.
    `now` is the clock that it goes by, and tells its time.
    """

    def __init__(self, path: Path | None = None, *, now: Callable[[], datetime] | None = None) -> None:
        self.path = path if path is not None else paths.data_dir() / "ledger.sqlite3"
        self.now = now if now is not None else _utc_now
        with explained(self.path):
            self._connection = open_file(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the ledger cannot be used any more."""
        self._connection.close()

    def add(self, name: str, provider: str, at: datetime | None = None, /, **fields: object) -> BoxRecord:
        """Write a new box, `intended` unless `fields` say another state. Its name must not be one of a live box.

        `at`: since when it bills, for a box that was rented before it is added; now, when left out.
        """
        check_name(name)
        now = self.now()
        record = _record({"provider": provider, **fields}, {"name": name, "created_at": now, "updated_at": now})
        values = _row(record)
        columns = ", ".join(f'"{key}"' for key in values)
        statement = f"INSERT INTO boxes ({columns}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608
        with self._transaction():
            try:
                box_id = self._connection.execute(statement, tuple(values.values())).lastrowid
            except sqlite3.IntegrityError as error:
                raise _taken(name, record, error) from error
            assert box_id is not None
            books.write_rates(self._connection, box_id, [], rates.follow([], record, fields, at or now))
        return record

    def new_order(self, name: str) -> str:
        """A name for the provider's own name field that no box ever had: `gpubox-<name>-<8 hex digits>`."""
        while True:
            order = f"gpubox-{check_name(name)}-{secrets.token_hex(4)}"
            if self.by_order(order) is None:
                return order

    def get(self, name: str) -> BoxRecord:
        """The live box of that name. Raises `UnknownBox` with the nearest name."""
        return _from_row(self._live(name))

    def find(self, name: str) -> BoxRecord | None:
        """The live box of that name; None when there is none (or it was released)."""
        rows = self._rows("SELECT * FROM boxes WHERE name = ? AND state <> 'released'", name)
        return _from_row(rows[0]) if rows else None

    def by_order(self, order: str) -> BoxRecord | None:
        """The box that was asked for under this unique name, released or not; None when there is none."""
        rows = self._rows('SELECT * FROM boxes WHERE "order" = ?', order)
        return _from_row(rows[0]) if rows else None

    def by_ref(self, provider: str, ref: str) -> BoxRecord | None:
        """The newest box that the provider calls `ref`, released or not; None when there is none."""
        statement = "SELECT * FROM boxes WHERE provider = ? AND provider_ref = ? ORDER BY id DESC LIMIT 1"
        rows = self._rows(statement, provider, ref)
        return _from_row(rows[0]) if rows else None

    def boxes(self, *, include_released: bool = False) -> list[BoxRecord]:
        """All boxes, by name; released ones too when asked for."""
        live = "" if include_released else "WHERE state <> 'released'"
        return [_from_row(row) for row in self._rows(f"SELECT * FROM boxes {live} ORDER BY name, id")]  # noqa: S608

    def update(self, name: str, at: datetime | None = None, /, **fields: object) -> BoxRecord:
        """Change fields of the live box of that name, and return it as it is then. Raises `UnknownBox`.

        Keeps the rates by which it is billed. A change of state holds for the bill since `at`; when that is left out,
        `stopped` since `powered_off_at`, `running` since the audited `create` or `power_on` call began, else now.
        A box that turns `stopped` is `powered_off_at` now, one that turns `running` is not off and not to be erased,
        unless `fields` say otherwise.
        """
        with self._transaction():
            row = self._live(name)
            before = _from_row(row)
            now = self.now()
            fields = {**_implied(before, fields, at or now), **fields}
            kept = {key: value for key, value in before if key not in fields}
            record = _record(fields, {**kept, "name": name, "updated_at": now})
            values = {key: value for key, value in _row(record).items() if key in fields or key == "updated_at"}
            changes = ", ".join(f'"{key}" = ?' for key in values)
            statement = f"UPDATE boxes SET {changes} WHERE id = ?"  # noqa: S608
            try:
                self._connection.execute(statement, (*values.values(), row["id"]))
            except sqlite3.IntegrityError as error:
                raise _taken(name, record, error) from error
            self._follow(row["id"], before, record, fields, at)
        return record

    def bills(self, *, include_released: bool = True) -> list[Bill]:
        """Every box with the rates that it was billed by, by name; `rates` says what they come to."""
        live = "" if include_released else "WHERE state <> 'released'"
        with self._reading():
            rows = self._connection.execute(f"SELECT * FROM boxes {live} ORDER BY name, id").fetchall()  # noqa: S608
            return [Bill(_from_row(row), tuple(books.rates_of(self._connection, row["id"]))) for row in rows]

    def spending(self, since: datetime | None = None) -> list[Spending]:
        """What each box, released ones too, has cost on each day (UTC), since `since`; by day, then by name.

        Time at a price that nobody has told is left out: `unpriced` has it.
        """
        return rates.spending(self.bills(), since, self.now())

    def unpriced(self, since: datetime | None = None) -> list[Unpriced]:
        """The boxes that ran at a price that nobody has told, since `since`."""
        return rates.unpriced(self.bills(), since, self.now())

    def spent(self, name: str) -> Decimal | None:
        """What the newest box of that name has cost so far, in its currency; None when its price is not known."""
        with self._reading():
            rows = self._connection.execute("SELECT max(id) FROM boxes WHERE name = ?", (name,)).fetchall()
            held = books.rates_of(self._connection, rows[0][0])
        return rates.total(held, self.now())

    def note_balance(self, provider: str, amount: Decimal, currency: str) -> BalanceRecord:
        """Keep what an account has left now."""
        balance = BalanceRecord(provider=provider, at=self.now(), amount=amount, currency=currency)
        with self._transaction():
            books.insert_balance(self._connection, balance)
        return balance

    def balances(self, provider: str | None = None) -> list[BalanceRecord]:
        """What an account (every account without a name) had left whenever that was noted, oldest first."""
        with self._reading():
            return books.balances_of(self._connection, provider)

    def note_backup(self, name: str, place: Path, *, files: int, size: int, sha256: str) -> BackupRecord:
        """Keep that the newest box of that name, released or not, has been backed up whole into `place`.

        `size` in bytes, `sha256` of its manifest. Raises `UnknownBox`.
        """
        at = self.now()
        backup = BackupRecord(name=name, at=at, place=place, files=files, size=size, sha256=sha256)
        with self._transaction():
            box_id = self._connection.execute("SELECT max(id) FROM boxes WHERE name = ?", (name,)).fetchone()[0]
            if box_id is None:
                raise self._unknown(name)
            books.insert_backup(self._connection, box_id, backup)
        return backup

    def last_backup(self, name: str, *, any_box: bool = False) -> BackupRecord | None:
        """The last backup of the newest box of that name; `any_box`: also of the boxes that had the name before it."""
        with self._reading():
            return books.newest_backup(self._connection, name, any_box=any_box)

    def audit(self, name: str, action: str, outcome: Outcome, detail: dict[str, Any] | None = None) -> None:
        """Note that something was begun, done or failed with the newest box of that name, released or not."""
        hidden = json.dumps(redacted(detail or {}), ensure_ascii=False, default=_plain)
        statement = """
            INSERT INTO audits (box_id, action, outcome, detail, at)
            SELECT max(id), ?, ?, ?, ? FROM boxes WHERE name = ? HAVING max(id) IS NOT NULL
        """
        values = (action, outcome, hidden, self.now().isoformat(), name)
        with explained(self.path):
            written = self._connection.execute(statement, values).rowcount
        if not written:
            raise self._unknown(name)

    def audits(self, name: str) -> list[Audit]:
        """What was done with the newest box of that name, oldest first."""
        rows = self._rows(
            """
            SELECT action, outcome, detail, at FROM audits
            WHERE box_id = (SELECT max(id) FROM boxes WHERE name = ?) ORDER BY id
            """,
            name,
        )
        return [Audit.model_validate({**dict(row), "name": name, "detail": json.loads(row["detail"])}) for row in rows]

    @contextmanager
    def lock(self, name: str, *, wait: float = 0.0, shared: bool = False) -> Iterator[None]:
        """Keep other gpubox processes from changing the box `name` meanwhile; `shared`: but those that share it, too.

        Waits `wait` seconds for one that does. Raises `Refused`, naming who has it.
        """
        with locks.held(self.path.parent / "locks", check_name(name), wait=wait, shared=shared):
            yield

    @contextmanager
    def renting(self, name: str, *, wait: float) -> Iterator[None]:
        """Keep others that share the lock of the box `name` from renting it a second time; waits as `lock` does."""
        with locks.held(self.path.parent / "locks" / "renting", check_name(name), wait=wait):
            yield

    def _live(self, name: str) -> sqlite3.Row:
        rows = self._rows("SELECT * FROM boxes WHERE name = ? AND state <> 'released'", name)
        if not rows:
            raise self._unknown(name)
        return rows[0]

    def _follow(
        self, box_id: int, before: BoxRecord, record: BoxRecord, given: dict[str, object], at: datetime | None
    ) -> None:
        """Write what the change of a box means for its bill."""
        held = books.rates_of(self._connection, box_id)
        since = at or record.updated_at
        if at is None and record.state != before.state:
            if record.state == "stopped":
                since = record.powered_off_at or since
            elif record.state == "running" and (asked := books.last_call_to_bill(self._connection, box_id)):
                since = asked if not held or asked > held[-1].at else since
        books.write_rates(self._connection, box_id, held, rates.follow(held, record, given, since))

    def _unknown(self, name: str) -> UnknownBox:
        names = [record.name for record in self.boxes()]
        near = did_you_mean(name, names)
        released = bool(self._rows("SELECT 1 FROM boxes WHERE name = ? LIMIT 1", name))
        message = f"the box `{name}` was released" if released else f"there is no box `{name}`"
        known = f"known boxes: {', '.join(names)}" if names else "no box is known yet"
        return UnknownBox(
            message + (f"; did you mean `{near}`?" if near and near != name else ""),
            where=name,
            hint=f"{known}; `gpubox up {name}` makes one from a box file, `gpubox add` adopts one",
        )

    def _rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        with explained(self.path):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Several reads of one and the same state."""
        with explained(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Take the write lock first, so that what is read inside cannot change before it is written."""
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _taken(name: str, record: BoxRecord, error: sqlite3.IntegrityError) -> Exception:
    """What an index of the boxes does not let pass."""
    if "boxes.name" in str(error):
        return UsageError(
            f"there is a box `{name}` already", where=name, hint="choose another name; `gpubox ls` shows all"
        )
    if "boxes.order" in str(error):
        return Refused(
            f"`{record.order}` was asked for already, so it cannot be the name of a second order",
            where=name,
            hint="`gpubox sweep` shows every box that is rented",
        )
    return error


def _implied(before: BoxRecord, fields: dict[str, object], now: datetime) -> dict[str, object]:
    """What a change of power says about a box besides its state."""
    state = fields.get("state", before.state)
    if state == before.state:
        return {}
    if state == "stopped":
        return {"powered_off_at": now}
    return {"powered_off_at": None, "erase_at": None} if state == "running" else {}


def _plain(value: object) -> str:
    """Something in an audit's detail that JSON has no word for."""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _record(fields: dict[str, object], own: dict[str, object]) -> BoxRecord:
    unknown = set(fields) - _SETTABLE
    if unknown:
        raise TypeError(f"not fields of a box that can be set: {', '.join(sorted(unknown))}")
    return BoxRecord.model_validate({**own, **fields})


def _row(record: BoxRecord) -> dict[str, object]:
    """The record as column values."""
    values = record.model_dump(mode="json")
    facts = values["facts"]
    return {**values, "facts": None if facts is None else json.dumps(facts, ensure_ascii=False)}


def _from_row(row: sqlite3.Row) -> BoxRecord:
    values = {key: row[key] for key in _FIELDS}
    return BoxRecord.model_validate({**values, "facts": json.loads(values["facts"]) if values["facts"] else None})
