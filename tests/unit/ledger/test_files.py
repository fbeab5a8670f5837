"""The ledger's file: broken, read-only, of another version, and used by several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Failed, Refused
from gpubox.ledger import Ledger, layout
from gpubox.ledger import file as ledger_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

FORK = multiprocessing.get_context("fork")
SECONDS = 60.0
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def test_a_file_that_is_no_database_is_told_with_the_way_out(path: Path) -> None:
    path.write_bytes(b"provider: attach\n" * 500)
    with pytest.raises(Failed, match="the ledger is damaged") as caught:
        Ledger(path)
    assert caught.value.where == str(path)
    assert f"mv {path} {path}.damaged" in str(caught.value.hint)


def test_a_database_that_rotted_is_told(path: Path) -> None:
    with Ledger(path) as ledger:
        for number in range(50):
            ledger.add(f"box-{number}", "local", facts={"filler": "x" * 500})
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)  # Everything behind the first page.
    path.write_bytes(raw)
    with pytest.raises(Failed, match="the ledger is damaged"), Ledger(path) as ledger:
        ledger.boxes()


def test_a_directory_in_its_place_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Failed, match="the ledger cannot be opened") as caught:
        Ledger(path)
    assert "GPUBOX_HOME" in str(caught.value.hint)


def test_a_newer_ledger_is_refused_and_not_touched(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(layout.MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(Failed, match="written by a newer gpubox") as caught:
        Ledger(path)
    assert caught.value.hint == "pip install --upgrade gpubox"
    assert _version(path) == len(layout.MIGRATIONS) + 1


def test_an_older_ledger_is_brought_up_and_keeps_its_boxes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(path) as ledger:
        before = ledger.add("demo", "local")
    added = ("ALTER TABLE boxes ADD COLUMN price INTEGER", "CREATE TABLE receipts (id INTEGER PRIMARY KEY)")
    monkeypatch.setattr(layout, "MIGRATIONS", (*layout.MIGRATIONS, added))
    with Ledger(path) as ledger:
        assert ledger.get("demo") == before
    assert _version(path) == len(layout.MIGRATIONS)


def test_a_migration_that_fails_in_the_middle_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(path).close()
    before = _version(path)
    broken = ("CREATE TABLE receipts (id INTEGER PRIMARY KEY)", "CREATE TABLE boxes (id)")
    monkeypatch.setattr(layout, "MIGRATIONS", (*layout.MIGRATIONS, broken))
    with pytest.raises(Failed, match="already exists"):
        Ledger(path)
    assert _version(path) == before
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    assert "receipts" not in tables


def test_a_ledger_that_another_process_keeps_locked_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "_BUSY_SECONDS", 0.05)
    with Ledger(path) as ledger:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Failed, match="kept the ledger locked"):
            ledger.add("demo", "local")
        holder.execute("ROLLBACK")
        holder.close()
        assert ledger.add("demo", "local").name == "demo"


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that another user can reach; pytest's own is closed to all but us."""
    directory = Path(tempfile.mkdtemp(prefix="gpubox-ledger-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


def test_a_read_only_ledger_is_told(open_dir: Path) -> None:
    path = open_dir / "ledger.sqlite3"
    Ledger(path).close()
    path.chmod(0o444)
    open_dir.chmod(0o555)
    said = _in_child(_open_as_nobody, path)
    assert said.startswith("the ledger cannot be opened: Permission denied")
    assert "GPUBOX_HOME" in said


def test_many_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    workers = [FORK.Process(target=_write_boxes, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(SECONDS)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    with Ledger(path) as ledger:
        assert len(ledger.boxes()) == 4 * 10
        assert {box.digest for box in ledger.boxes()} == {"final"}
        assert sum(len(ledger.audits(box.name)) for box in ledger.boxes()) == 4 * 10


def test_a_killed_process_leaves_its_intent(path: Path) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=_intend_and_wait, args=(path, theirs))
    child.start()
    assert ours.recv() == "intended"
    child.kill()
    child.join(SECONDS)
    with Ledger(path) as ledger:
        assert ledger.get("rented").state == "intended"
        assert [audit.outcome for audit in ledger.audits("rented")] == ["begun"]


def test_a_locked_box_is_refused_to_others_naming_the_process(path: Path) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=_hold_lock, args=(path, theirs))
    child.start()
    assert ours.recv() == "locked"
    with Ledger(path) as ledger:
        with pytest.raises(Refused, match=f"process {child.pid} is working on the box `demo`") as caught, _lock(ledger):
            pass
        assert "gpubox watch demo" in str(caught.value.hint)
        with ledger.lock("other"):
            pass
        child.kill()  # Whoever is killed holds nothing any more, though its process id still stands there.
        child.join(SECONDS)
        with _lock(ledger), pytest.raises(Refused, match=f"process {os.getpid()} "), _lock(ledger):
            pass
        with _lock(ledger):
            pass


def test_a_lock_is_given_back_after_an_error(path: Path) -> None:
    with Ledger(path) as ledger:
        with pytest.raises(ZeroDivisionError), _lock(ledger):
            raise ZeroDivisionError
        with _lock(ledger):
            pass
    assert not list((path.parent / "locks").glob("*.pid"))


def test_a_shared_lock_is_shared_and_keeps_the_others_out(path: Path) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=_hold_lock, args=(path, theirs), kwargs={"shared": True})
    child.start()
    assert ours.recv() == "locked"
    with Ledger(path) as ledger:
        with pytest.raises(Refused, match=f"process {child.pid} is working on the box `demo`"), _lock(ledger):
            pass
        # Among those that share it one rents alone.
        with (
            ledger.lock("demo", shared=True),
            ledger.renting("demo", wait=0),
            pytest.raises(Refused),
            ledger.renting("demo", wait=0),
        ):
            pass
        ours.send("go")
        child.join(SECONDS)
        with _lock(ledger), pytest.raises(Refused), ledger.lock("demo", shared=True):
            pass


def test_a_lock_can_be_waited_for(path: Path) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=_hold_lock, args=(path, theirs))
    child.start()
    assert ours.recv() == "locked"
    ours.send("go")
    with Ledger(path) as ledger, ledger.lock("demo", wait=SECONDS):
        child.join(SECONDS)
    assert child.exitcode == 0


def _lock(ledger: Ledger) -> AbstractContextManager[None]:
    return ledger.lock("demo")


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.close()
    return version


def _in_child(target: Callable[[Path, Connection], None], path: Path) -> str:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=target, args=(path, theirs))
    child.start()
    theirs.close()
    said = str(ours.recv())
    child.join(SECONDS)
    return said


def _open_as_nobody(path: Path, told: Connection) -> None:
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    try:
        Ledger(path).add("demo", "local")
    except Failed as error:
        told.send(f"{error.message} | {error.hint}")
    else:
        told.send("written")


def _write_boxes(path: Path, worker: int) -> None:
    with Ledger(path) as ledger:
        for number in range(10):
            name = f"box-{worker}-{number}"
            ledger.add(name, "local")
            ledger.audit(name, "create", "done")
            ledger.update(name, digest="final")


def _intend_and_wait(path: Path, told: Connection) -> None:
    ledger = Ledger(path)
    ledger.add("rented", "attach")
    ledger.audit("rented", "create", "begun")
    told.send("intended")
    told.recv()


def _hold_lock(path: Path, told: Connection, *, shared: bool = False) -> None:
    with Ledger(path) as ledger, ledger.lock("demo", shared=shared):
        told.send("locked")
        told.recv()
