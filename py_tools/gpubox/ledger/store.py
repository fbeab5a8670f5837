"""The ledger's SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from gpubox import paths
from gpubox.errors import Failed, UnknownBox, UsageError
from gpubox.ledger import locks
from gpubox.ledger.layout import migrate
from gpubox.ledger.records import Audit, BoxRecord, Outcome, check_name
from gpubox.words import did_you_mean, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

_FIELDS = tuple(BoxRecord.model_fields)
_SETTABLE = frozenset(_FIELDS) - {"name", "created_at", "updated_at"}
_BUSY_SECONDS = 20.0  # Every transaction here is a few rows: whoever waits longer waits for a process that hangs.


class Ledger:
    """The ledger at `path`, by default `ledger.sqlite3` in gpubox's data directory; made if missing, 0600.

    Each method is one transaction: a process that is killed leaves the row as it was or as it shall be. Several
    processes may use the file at once. Raises `Failed` for a file that is broken, read-only or from a newer gpubox.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else paths.data_dir() / "ledger.sqlite3"
        with _explained(self.path):
            self._connection = _open(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the ledger cannot be used any more."""
        self._connection.close()

    def add(self, name: str, provider: str, **fields: object) -> BoxRecord:
        """Write a new box, `intended` unless `fields` say another state. Its name must not be one of a live box."""
        check_name(name)
        now = datetime.now(UTC)
        record = _record({"provider": provider, **fields}, {"name": name, "created_at": now, "updated_at": now})
        values = _row(record)
        statement = f"INSERT INTO boxes ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608
        with _explained(self.path):
            try:
                self._connection.execute(statement, tuple(values.values()))
            except sqlite3.IntegrityError as error:
                raise UsageError(
                    f"there is a box `{name}` already", where=name, hint="choose another name; `gpubox ls` shows all"
                ) from error
        return record

    def get(self, name: str) -> BoxRecord:
        """The live box of that name. Raises `UnknownBox` with the nearest name."""
        record = self.find(name)
        if record is None:
            raise self._unknown(name)
        return record

    def find(self, name: str) -> BoxRecord | None:
        """The live box of that name; None when there is none (or it was released)."""
        rows = self._rows("SELECT * FROM boxes WHERE name = ? AND state <> 'released'", name)
        return _from_row(rows[0]) if rows else None

    def boxes(self, *, include_released: bool = False) -> list[BoxRecord]:
        """All boxes, by name; released ones too when asked for."""
        live = "" if include_released else "WHERE state <> 'released'"
        return [_from_row(row) for row in self._rows(f"SELECT * FROM boxes {live} ORDER BY name, id")]  # noqa: S608

    def update(self, name: str, **fields: object) -> BoxRecord:
        """Change fields of the live box of that name, and return it as it is then. Raises `UnknownBox`."""
        with self._transaction():
            before = self.get(name)
            kept = {key: value for key, value in before if key not in fields}
            record = _record(fields, {**kept, "name": name, "updated_at": datetime.now(UTC)})
            values = {key: value for key, value in _row(record).items() if key in fields or key == "updated_at"}
            changes = ", ".join(f"{key} = ?" for key in values)
            statement = f"UPDATE boxes SET {changes} WHERE name = ? AND state <> 'released'"  # noqa: S608
            self._connection.execute(statement, (*values.values(), name))
        return record

    def audit(self, name: str, action: str, outcome: Outcome, detail: dict[str, Any] | None = None) -> None:
        """Note that something was begun, done or failed with the newest box of that name, released or not."""
        hidden = json.dumps(redacted(detail or {}), ensure_ascii=False, default=str)
        statement = """
            INSERT INTO audits (box_id, action, outcome, detail, at)
            SELECT max(id), ?, ?, ?, ? FROM boxes WHERE name = ? HAVING max(id) IS NOT NULL
        """
        values = (action, outcome, hidden, datetime.now(UTC).isoformat(), name)
        with _explained(self.path):
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
        with _explained(self.path):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Take the write lock first, so that what is read inside cannot change before it is written."""
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite gives its side files (-wal, -shm) the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # An intent must survive a power cut: money hangs on it.
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into a sentence that names the file and the way out."""
    try:
        yield
    except Failed as error:
        raise type(error)(error.message, where=error.where or str(path), hint=error.hint) from error
    except sqlite3.IntegrityError as error:
        raise Failed(f"the ledger does not take this: {error}", where=str(path)) from error
    except sqlite3.OperationalError as error:
        raise _operational(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise Failed(
            f"the ledger is damaged: {error}",
            where=str(path),
            hint=f"move it away (`mv {path} {path}.damaged`), then `gpubox add` the boxes that you still rent",
        ) from error
    except OSError as error:
        raise Failed(f"the ledger cannot be opened: {error.strerror}", where=str(path), hint=_ELSEWHERE) from error


_ELSEWHERE = "make it writable, or set `GPUBOX_HOME` to a directory that you can write to"


def _operational(path: Path, words: str) -> Failed:
    if "locked" in words or "busy" in words:
        return Failed(
            f"another process has kept the ledger locked for {_BUSY_SECONDS:.0f} s",
            where=str(path),
            hint=f"find it with `fuser {path}`, end it, and run the command again",
        )
    if "full" in words:
        return Failed("the ledger cannot be written: the disk is full", where=str(path), hint="free some space")
    return Failed(f"the ledger cannot be used: {words}", where=str(path), hint=_ELSEWHERE)


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
