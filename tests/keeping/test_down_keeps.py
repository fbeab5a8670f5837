"""What `down` leaves at home of a box on which something ran: one backup, of the box at rest, and nothing less."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from gpubox import backups
from gpubox.converge.progress import Board
from gpubox.down import down
from gpubox.ledger import Ledger
from keeping.box import ROOT, kept_box
from keeping.trouble import RESULTS, Telling
from waits import until

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox

# Writes a last line when it is ended, as a trainer saves its checkpoint.
_TRAINER = f"""
import os, signal, sys, time
def last(*_):
    open("{RESULTS}/log", "a").write("last words\\n")
    {{at_the_end}}
    sys.exit(0)
signal.signal(signal.SIGTERM, last)
open("{RESULTS}/log", "a").write("first words\\n")
open("{RESULTS}/lock", "w").write("mine")
time.sleep(100000)
"""


def _down(box: TestBox, home: Path, results: Path, at_the_end: str) -> Telling:
    spec = {"argv": ["/usr/bin/python3", "-c", _TRAINER.format(at_the_end=at_the_end)], "precious": ["results"]}
    made = box.exec(f"printf %s {shlex.quote(json.dumps(spec))} | {ROOT}/bin/boxctl service apply trainer", timeout=100)
    assert made.exit_code == 0, made.stdout + made.stderr
    until(lambda: box.exec(f"cat {RESULTS}/lock").stdout == "mine", "the trainer")
    teller = Telling()
    down("mybox", board=Board(teller), confirm=lambda _: True, results=results, to=home)
    return teller


def test_only_the_last_backup_stays(boxes: BoxFactory, home: Path, tmp_path: Path) -> None:
    box = kept_box(boxes, supervised=True)
    teller = _down(box, home, tmp_path / "receipt", "pass")
    (place,) = (home / "mybox").iterdir()
    assert (place / "files/results/log").read_text() == "first words\nlast words\n"
    assert backups.verify(place)[1] == ()
    with Ledger() as ledger:
        noted = ledger.last_backup("mybox")
    assert noted is not None
    assert noted.place == place
    assert not [note for note in teller.notes if "stays" in note]


def test_the_first_one_stays_when_a_file_went_meanwhile(boxes: BoxFactory, home: Path, tmp_path: Path) -> None:
    box = kept_box(boxes, supervised=True)
    teller = _down(box, home, tmp_path / "receipt", f"os.remove('{RESULTS}/lock')")
    first, last = sorted((home / "mybox").iterdir())
    assert (first / "files/results/lock").read_text() == "mine"
    assert not (last / "files/results/lock").exists()
    assert backups.verify(first)[1] == backups.verify(last)[1] == ()
    (note,) = [note for note in teller.notes if "stays" in note]
    assert str(first) in note
    assert "results/lock" in note
