"""Databases come home whole, whatever writes to them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

from gpubox import backup, backups
from gpubox.backup import listing
from keeping.box import ROOT, fill, python
from keeping.trouble import MIB, RESULTS, saved

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from box.testbox import TestBox
    from gpubox.backup.control import Control
    from gpubox.backup.listing import Plan
    from gpubox.converge.progress import Board

_WRITER = """
import os, sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA journal_mode = WAL")
base.execute("PRAGMA wal_autocheckpoint = 0")
base.execute("CREATE TABLE IF NOT EXISTS chat (number INTEGER PRIMARY KEY, text TEXT)")
while True:
    base.execute("INSERT INTO chat (text) VALUES (?)", ("x" * 300,))
    open("/root/writer.part", "w").write(str(base.execute("SELECT count(*) FROM chat").fetchone()[0]))
    os.replace("/root/writer.part", "/root/writer.count")
"""


def test_a_database_that_is_written_comes_home_whole(kept: TestBox, board: Board, home: Path, tmp_path: Path) -> None:
    kept.write("/root/writer.py", _WRITER)
    place = f"{RESULTS}/webui.db"
    kept.exec(f"setsid python3 /root/writer.py {place} >/dev/null 2>&1 & echo $! > /root/writer.pid")
    try:
        kept.exec(
            "cd /root; until [ -s writer.count ] && [ $(cat writer.count) -gt 300 ]; do sleep 0.05; done", timeout=100
        )
        before = int(kept.read("/root/writer.count"))
        done = backup.backup("mybox", board=board, to=home)
        copied = kept.exec(f"cp {place} /root/copy.db; base64 /root/copy.db").stdout
    finally:
        kept.exec("kill $(cat /root/writer.pid); rm -f /root/writer.* /root/copy.db")
    paths = [file.path for file in backups.checked(done.place).files]
    assert "results/webui.db" in paths
    assert not [path for path in paths if path.endswith(("-wal", "-shm"))]
    home_copy = tmp_path / "webui.db"
    shutil.copy(saved(done, "results/webui.db"), home_copy)
    home_copy.chmod(0o600)
    with contextlib.closing(sqlite3.connect(home_copy)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT count(*) FROM chat").fetchone()[0] >= before
        # It is in the mode that its program had chosen.
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    # What this is for: the file alone, copied, has not even the table.
    import base64

    (tmp_path / "copied.db").write_bytes(base64.b64decode(copied))
    with contextlib.closing(sqlite3.connect(tmp_path / "copied.db")) as base:
        tables = base.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == []


def test_a_database_that_rests_is_not_copied_twice(kept: TestBox, board: Board, home: Path) -> None:
    python(
        kept,
        f"""
import sqlite3
base = sqlite3.connect("{RESULTS}/adapters.db")
base.execute("PRAGMA journal_mode = WAL")
base.execute("CREATE TABLE t AS SELECT hex(randomblob(9000)) AS x")
base.commit()
""",
    )
    kept.exec("sleep 0.2")
    first = backup.backup("mybox", board=board, to=home)
    second = backup.backup("mybox", board=board, to=home)
    assert first.fetched > 0
    assert second.fetched == 0
    assert saved(second, "results/adapters.db").samefile(saved(first, "results/adapters.db"))
    assert kept.exec(f"ls -A {ROOT}/snapshots").stdout == ""


def test_what_came_while_a_database_was_copied_comes_too(
    kept: TestBox, board: Board, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(kept, f"import sqlite3; sqlite3.connect('{RESULTS}/webui.db').execute('CREATE TABLE t (x)')")
    real = listing.ask
    asked: list[bool] = []

    def ask(control: Control, name: str, **options: Any) -> Plan:  # noqa: ANN401 - whatever the story asks for
        found = real(control, name, **options)
        if not asked:
            # An upload, between the list and the copy that speaks of it.
            kept.write(f"{RESULTS}/note.txt", "uploaded")
            fill(kept, f"{RESULTS}/film.mp4", 3 * MIB)
        asked.append(options["search"])
        return found

    monkeypatch.setattr(listing, "ask", ask)
    done = backup.backup("mybox", board=board, to=home)
    assert asked == [True, False]
    assert saved(done, "results/note.txt").read_text() == "uploaded"
    assert saved(done, "results/film.mp4").stat().st_size == 3 * MIB
    assert {"results/note.txt", "results/film.mp4"} <= {file.path for file in backups.checked(done.place).files}
