"""A backup goes back, onto another box, byte for byte; nothing newer is lost, whatever happens to the line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy
from e2e.cli import Gpubox
from gpubox import backup, restore
from gpubox.converge.progress import Board
from gpubox.errors import Failed, Refused, UsageError
from gpubox.ledger import Ledger
from keeping.box import ROOT, enroll, fill, kept_box, python
from keeping.trouble import MIB, RESULTS, Cutting, Interrupting, flip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox

_SUMS = "find results /root/work -type f ! -name '*.db*' -printf '%m %T@ %s ' -exec sha256sum {} \\; | sort"
_DATABASE = f"""
import sqlite3
base = sqlite3.connect("{RESULTS}/webui.db")
base.execute("PRAGMA journal_mode = WAL")
base.execute("CREATE TABLE IF NOT EXISTS chat (text)")
base.execute("INSERT INTO chat VALUES ('{{text}}')")
base.commit()
"""


@pytest.fixture(scope="module")
def second(module_boxes: BoxFactory) -> TestBox:
    """Another box."""
    return kept_box(module_boxes, port=0)


@pytest.fixture
def other(second: TestBox) -> Iterator[TestBox]:
    """It, as `newbox` of this test's ledger, empty."""
    second.exec(f"cd {ROOT} && rm -rf results/* hashes.jsonl services/* /root/work")
    enroll(second, "newbox", second.port)
    yield second
    second.exec("[ ! -f /root/holder.pid ] || kill $(cat /root/holder.pid); rm -f /root/holder.pid")


def test_a_backup_comes_back_byte_for_byte_onto_another_box(
    kept: TestBox, other: TestBox, board: Board, home: Path
) -> None:
    fill(kept, f"{RESULTS}/model.bin", 7 * MIB + 3)
    python(kept, f"import os\nfor n in range(300): open(f'{RESULTS}/{{n}} 图.json', 'wb').write(os.urandom(n * 50))")
    kept.exec(f"cd {RESULTS} && chmod 0750 '7 图.json' && touch -d '3 days ago' '8 图.json' && : > -empty")
    kept.write("/root/work/notes.txt", "found, not declared")
    kept.write(f"{ROOT}/logs/web.log", "of the old box")
    python(kept, _DATABASE.format(text="hello"))
    done = backup.backup("mybox", board=board, to=home)
    intent = restore.plan("newbox", done.place)
    assert {placed.state for placed in intent.files} == {"missing"}
    assert intent.history == 1
    assert other.exec(f"ls -A {RESULTS}").stdout == ""
    with Proxy(other.port) as line, Ledger() as ledger:
        ledger.update("newbox", port=line.port)
        restore.restore("newbox", done.place, board=board)
        # Every connection is a channel of one login.
        assert line.counts()["accepted"] == 1
        ledger.update("newbox", port=other.port)
    assert other.exec(f"cd {ROOT} && {_SUMS}").stdout == kept.exec(f"cd {ROOT} && {_SUMS}").stdout
    look = f"import sqlite3; print(*sqlite3.connect('{RESULTS}/webui.db').execute('SELECT text FROM chat'))"
    assert python(other, look) == "('hello',)\n"
    assert other.exec(f"ls {ROOT}/logs; find {ROOT} -name '.*gpubox-*'").stdout == ""
    # Once more there is nothing to do.
    assert restore.restore("newbox", done.place, board=board).writes == ()


def test_what_is_newer_is_not_overwritten_unasked(kept: TestBox, board: Board, home: Path) -> None:
    kept.write(f"{RESULTS}/table.csv", "old")
    kept.write(f"{RESULTS}/other.csv", "old")
    done = backup.backup("mybox", board=board, to=home)
    kept.write(f"{RESULTS}/table.csv", "newer")
    kept.exec(f"rm {RESULTS}/other.csv")
    with pytest.raises(Refused, match=rf"1 file on the box is newer .*\n  {RESULTS}/table.csv: of 20") as caught:
        restore.restore("mybox", board=board)
    assert "--force" in str(caught.value.hint)
    assert kept.read(f"{RESULTS}/table.csv") == "newer"
    assert kept.exec(f"cat {RESULTS}/other.csv").exit_code != 0
    # What is older than the backup is no loss.
    kept.exec(f"printf older > {RESULTS}/table.csv; touch -d '2 days ago' {RESULTS}/table.csv")
    restore.restore("mybox", board=board)
    assert kept.read(f"{RESULTS}/table.csv") == kept.read(f"{RESULTS}/other.csv") == "old"
    kept.write(f"{RESULTS}/table.csv", "newer")
    restore.restore("mybox", done.place, board=board, force=True)
    assert kept.read(f"{RESULTS}/table.csv") == "old"


def test_a_database_is_not_replaced_under_a_program(kept: TestBox, other: TestBox, board: Board, home: Path) -> None:
    python(kept, _DATABASE.format(text="saved"))
    done = backup.backup("mybox", board=board, to=home)
    holder = _DATABASE.format(text="newer") + "import time\nopen('/root/holding', 'w')\ntime.sleep(1000)"
    other.write("/root/holder.py", holder)
    other.exec(
        "rm -f /root/holding; setsid python3 /root/holder.py >/dev/null 2>&1 & echo $! > /root/holder.pid;"
        "until [ -f /root/holding ]; do sleep 0.05; done",
        timeout=100,
    )
    with pytest.raises(Refused, match=r"open in process \d+ \(python3\)"):
        restore.restore("newbox", done.place, board=board, force=True)
    other.exec(
        "p=$(cat /root/holder.pid); kill -9 $p; rm /root/holder.pid; while kill -0 $p 2>/dev/null; do sleep 0.05; done"
    )
    # Its log is still there, and belongs to what is replaced.
    assert other.exec(f"test -s {RESULTS}/webui.db-wal").exit_code == 0
    with pytest.raises(Refused, match="newer than the backup"):
        restore.restore("newbox", done.place, board=board)
    restore.restore("newbox", done.place, board=board, force=True)
    found = python(
        other,
        f"""
import sqlite3
base = sqlite3.connect("{RESULTS}/webui.db")
print(*base.execute("PRAGMA integrity_check").fetchone(), *base.execute("SELECT text FROM chat").fetchall())
""",
    )
    assert found == "ok ('saved',)\n"


def test_a_cut_line_goes_on_where_it_was(kept: TestBox, other: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 80 * MIB)
    done = backup.backup("mybox", board=board, to=home)
    with Proxy(other.port, delay=0.02) as line, Ledger() as ledger:
        ledger.update("newbox", port=line.port)
        with pytest.raises(KeyboardInterrupt):
            restore.restore("newbox", done.place, board=Board(Interrupting(line, 40 * MIB, way="up")))
        assert other.exec(f"ls {RESULTS}").stdout == ""
        begun = line.counts()["up"]
        cut = Cutting(line, begun + 8 * MIB)
        restore.restore("newbox", done.place, board=Board(cut))
        assert cut.done
        assert line.counts()["up"] - begun < 78 * MIB
    assert other.exec(f"sha256sum < {RESULTS}/model.bin").stdout == kept.exec(f"sha256sum < {RESULTS}/model.bin").stdout


def test_a_large_restore_gets_further_connections(kept: TestBox, other: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 60 * MIB)
    done = backup.backup("mybox", board=board, to=home)
    # Four windows of 2 MiB for each 0.4 s: three seconds of work at best.
    with Proxy(other.port, delay=0.2) as line, Ledger() as ledger:
        ledger.update("newbox", port=line.port)
        restore.restore("newbox", done.place, board=board)
        assert line.counts()["accepted"] == 4
    assert other.exec(f"sha256sum < {RESULTS}/model.bin").stdout == kept.exec(f"sha256sum < {RESULTS}/model.bin").stdout


def test_a_rotten_backup_is_not_put_back(kept: TestBox, other: TestBox, board: Board, home: Path) -> None:
    kept.write(f"{RESULTS}/table.csv", "precious")
    done = backup.backup("mybox", board=board, to=home)
    flip(done.place / "files/results/table.csv", 3)
    with pytest.raises(Failed, match=r"results/table.csv: its SHA-256 differs"):
        restore.restore("newbox", done.place, board=board)
    assert other.exec(f"ls {RESULTS}").stdout == ""


def test_a_full_disk_on_the_box_leaves_nothing_half(boxes: BoxFactory, kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 40 * MIB)
    kept.write(f"{RESULTS}/small", "small")
    done = backup.backup("mybox", board=board, to=home)
    small = kept_box(boxes, "smallbox", data_size=24 * MIB)
    with pytest.raises(Failed, match="no space left"):
        restore.restore("smallbox", done.place, board=board)
    assert "model.bin" not in small.exec(f"ls {RESULTS}").stdout.split()


def test_no_backup_is_known(kept: TestBox, board: Board, home: Path) -> None:
    with pytest.raises(UsageError, match="no backup of `mybox` is known"):
        restore.restore("mybox", board=board)
    home.mkdir()
    with pytest.raises(UsageError, match="no backup, or one that was not finished"):
        restore.restore("mybox", home, board=board)


def test_the_command_line(shared: TestBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Gpubox(tmp_path)
    monkeypatch.setenv("GPUBOX_HOME", str(tool.home / ".local/share/gpubox"))
    shared.exec(f"rm -rf {RESULTS}/* {ROOT}/logs/* /root/work")
    shared.write(f"{RESULTS}/table.csv", "mine")
    enroll(shared, "mybox", shared.port)
    try:
        shown = tool("backup", "mybox", "--dry-run").stdout
        assert "declared  results" in shown
        assert [file["path"] for file in tool.json("backup", "mybox", "--dry-run")["files"]] == ["results/table.csv"]
        assert not (tmp_path / "gpubox-backups").exists()
        place = tool("backup", "mybox").stdout.strip()
        assert place.startswith(str(tmp_path / "gpubox-backups" / "mybox"))
        assert tool.json("backup", "mybox")["fetched"] == 0
        assert "1 file, 0.0 MiB, all as they were" in tool("backup", "--verify", place).stderr
        flip(tmp_path / place / "files/results/table.csv", 0)
        assert "its SHA-256 differs" in tool("backup", "--verify", place, code=1).stderr
        shared.exec(f"rm {RESULTS}/table.csv")
        table = tool("restore", "mybox", "--dry-run").stdout
        assert "missing" in table
        tool("restore", "mybox", place, code=1)
        tool("backup", code=2)
        shared.write(f"{RESULTS}/table.csv", "mine")
        newest = json.loads(tool("backup", "mybox", "--json").stdout)["place"]
        shared.write(f"{RESULTS}/table.csv", "newer")
        assert "--force" in tool("restore", "mybox", code=3).stderr
        assert tool.json("restore", "mybox", newest, "--force")["written"] == 1
        assert shared.read(f"{RESULTS}/table.csv") == "mine"
    finally:
        tool.end()
