"""A database goes back onto a box on which a service has it open: that one rests meanwhile, and no other."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from box.testbox import Proxy
from gpubox import backup, restore
from gpubox.converge.progress import Board
from gpubox.errors import Refused, TransferFailed
from gpubox.ledger import Ledger
from keeping.box import ROOT, enroll, fill, kept_box, python
from keeping.trouble import MIB, RESULTS, Cutting
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox

_BASE = f"{RESULTS}/webui.db"
# As a web UI does: a database in WAL mode, held open and written to as long as it runs, made when there is none.
_WEB = f"""
import sqlite3, time
base = sqlite3.connect("{_BASE}", isolation_level=None)
base.execute("PRAGMA journal_mode = WAL")
base.execute("CREATE TABLE IF NOT EXISTS chat (text)")
base.execute("INSERT INTO chat VALUES ('started')")
open("{ROOT}/started", "a").write("x")
time.sleep(100000)
"""
_OTHER = "import time\ntime.sleep(100000)"
_ROWS = f"import sqlite3; print(*(row[0] for row in sqlite3.connect('{_BASE}').execute('SELECT text FROM chat')))"


@pytest.fixture(scope="module")
def supervised(module_boxes: BoxFactory) -> TestBox:
    """A box with services."""
    return kept_box(module_boxes, port=0, supervised=True)


@pytest.fixture
def saved(kept: TestBox, board: Board, home: Path) -> Path:
    """The backup of a box with a database and another file."""
    python(kept, _WEB.replace("time.sleep(100000)", "").replace("'started'", "'saved'"))
    kept.write(f"{RESULTS}/table.csv", "saved")
    kept.exec(f"rm -f {ROOT}/started")
    return backup.backup("mybox", board=board, to=home).place


@pytest.fixture
def served(supervised: TestBox, saved: Path) -> Iterator[TestBox]:
    """It, as `newbox`: a web UI has its database open, younger than what was saved; another service has none."""
    supervised.exec(f"cd {ROOT} && rm -rf results/* hashes.jsonl started")
    enroll(supervised, "newbox", supervised.port)
    _apply(supervised, "web", _WEB, ["results/webui.db"])
    _apply(supervised, "other", _OTHER, ["results/table.csv"])
    until(lambda: _starts(supervised) == 1 and _running(supervised) == {"web", "other"}, "both services")
    yield supervised
    for name in ("web", "other"):
        _boxctl(supervised, f"service remove {name}")


def test_the_service_rests_while_its_database_is_replaced(served: TestBox, saved: Path, board: Board) -> None:
    before = _pids(served)
    assert restore.plan("newbox", saved).stops == ("web",)
    # What it has written is newer than the backup: nothing is stopped for a restore that is refused.
    with pytest.raises(Refused, match="newer than the backup"):
        restore.restore("newbox", saved, board=board)
    assert _pids(served) == before
    restore.restore("newbox", saved, board=board, force=True)
    until(lambda: _starts(served) == 2, "its second start")
    after = _pids(served)
    assert after["web"] not in {before["web"], None}
    assert after["other"] == before["other"]
    assert python(served, _ROWS) == "saved started\n"
    assert served.read(f"{RESULTS}/table.csv") == "saved"


def test_it_runs_again_when_the_line_was_cut(kept: TestBox, served: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 40 * MIB)
    done = backup.backup("mybox", board=board, to=home)
    with Proxy(served.port, delay=0.05) as line, Ledger() as ledger:
        ledger.update("newbox", port=line.port)
        cut = Cutting(line, 8 * MIB)
        restore.restore("newbox", done.place, board=Board(cut), force=True)
        assert cut.done
    until(lambda: _starts(served) == 2, "its second start")
    until(lambda: _running(served) == {"web", "other"}, "both services")
    assert python(served, _ROWS) == "saved started\n"


def test_it_runs_again_when_the_restore_fails(served: TestBox, saved: Path, board: Board) -> None:
    before = _pids(served)
    # No file can be put where a directory is.
    served.exec(f"mkdir -p {RESULTS}/table.csv/full")
    with pytest.raises(TransferFailed, match=r"results/table.csv"):
        restore.restore("newbox", saved, board=board, force=True)
    until(lambda: _starts(served) == 2, "its second start")
    until(lambda: _running(served) == {"web", "other"}, "both services")
    assert _pids(served)["web"] != before["web"]


def test_a_service_that_was_stopped_stays_so(served: TestBox, saved: Path, board: Board) -> None:
    _boxctl(served, "service stop web")
    assert restore.plan("newbox", saved).stops == ()
    restore.restore("newbox", saved, board=board, force=True)
    assert _running(served) == {"other"}
    assert python(served, _ROWS) == "saved\n"


def _apply(box: TestBox, name: str, program: str, precious: list[str]) -> None:
    spec = {"argv": ["/usr/bin/python3", "-c", program], "precious": precious, "start_seconds": 1}
    _boxctl(box, f"service apply {name}", json.dumps(spec))


def _boxctl(box: TestBox, command: str, stdin: str = "") -> dict[str, Any]:
    done = box.exec(f"printf %s {shlex.quote(stdin)} | {ROOT}/bin/boxctl {command}", timeout=100)
    assert done.exit_code == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _pids(box: TestBox) -> dict[str, int | None]:
    return {service["name"]: service["pid"] for service in _boxctl(box, "status")["services"]}


def _running(box: TestBox) -> set[str]:
    return {service["name"] for service in _boxctl(box, "status")["services"] if service["state"] == "running"}


def _starts(box: TestBox) -> int:
    return len(box.exec(f"cat {ROOT}/started").stdout)
