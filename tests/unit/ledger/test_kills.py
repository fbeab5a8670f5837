"""SIGKILL in the middle of writes: the ledger is never broken, and what it said to have written is there."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.ledger import Ledger

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

FORK = multiprocessing.get_context("fork")
SECONDS = 60.0
ROUNDS = 40


def life(ledger: Ledger, name: str) -> list[str]:
    """The writes of a box's whole life; returns what they are called, to be compared with what survived."""
    done = []
    ledger.add(name, "autodl", order=ledger.new_order(name))
    done.append("intended")
    ledger.audit(name, "create", "begun", {"price": Decimal("1.97")})
    done.append("asked")
    ledger.update(name, state="running", provider_ref=f"pro-{name}")
    done.append("running")
    ledger.update(name, price_per_hour=Decimal("1.97"), currency="CNY")
    done.append("priced")
    ledger.note_balance("autodl", Decimal(100), "CNY")
    done.append("balance")
    ledger.note_backup(name, Path("/home/me/b"), files=1, size=1, sha256="a")
    done.append("backed up")
    ledger.update(name, state="stopped")
    done.append("stopped")
    ledger.update(name, state="released")
    done.append("released")
    return done


def check(path: Path) -> int:
    """Whether every row of the ledger fits every other; returns the number of boxes."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    boxes = connection.execute("SELECT id, state, price_per_hour, provider_ref FROM boxes").fetchall()
    for box_id, state, price, ref in boxes:
        rates = connection.execute(
            "SELECT state, per_hour, assumed FROM rates WHERE box_id = ? ORDER BY id", (box_id,)
        ).fetchall()
        # A box and its bill change together or not at all.
        assert (rates[-1][0] if rates else "intended") == state
        assert (ref is None) == (state == "intended")
        for kind, per_hour, assumed in rates:
            if kind == "running":
                assert (per_hour, assumed) == ((None, 1) if price is None else ("1.97", 0))
    connection.close()
    with Ledger(path) as ledger:
        assert len(ledger.boxes(include_released=True)) == len(boxes)
        assert all(row.currency == "CNY" for row in ledger.spending())
    return len(boxes)


def test_killed_at_every_statement(tmp_path: Path) -> None:
    """A process is killed before its first statement, its second, ...; until one comes to its end."""
    for number in count(1):
        path = tmp_path / f"{number}" / "ledger.sqlite3"
        child = FORK.Process(target=_live_until, args=(path, number))
        child.start()
        child.join(SECONDS)
        boxes = check(path)
        assert boxes <= 1
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        # Whoever comes next goes on with it: the name is free, or its box is there to be taken up.
        with Ledger(path) as ledger:
            if ledger.find("demo") is None:
                life(ledger, "demo")
            else:
                ledger.update("demo", state="released", provider_ref="pro-demo")
        check(path) if boxes == 0 else None
    assert boxes == 1
    assert number > 20


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """One ledger, whose writer is killed again and again at moments that nobody chose."""
    path = tmp_path / "ledger.sqlite3"
    Ledger(path).close()
    chance = random.Random(3)
    told: set[str] = set()
    for number in range(ROUNDS):
        ours, theirs = FORK.Pipe(duplex=False)
        child = FORK.Process(target=_live_on, args=(path, f"box-{number}", theirs))
        child.start()
        theirs.close()
        ours.poll(SECONDS)  # It has written something.
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        child.join(SECONDS)
        assert child.exitcode == -signal.SIGKILL
        told |= _received(ours)
        if number % 8 == 7:
            check(path)
    with Ledger(path) as ledger:
        known = {box.name: box for box in ledger.boxes(include_released=True)}
    assert {name for name in told if name not in known} == set()
    assert {known[name].state for name in told} == {"released"}
    assert len(told) >= ROUNDS


def _received(pipe: Connection) -> set[str]:
    names = set()
    while pipe.poll(0):
        try:
            names.add(str(pipe.recv()))
        except EOFError:
            break
    return names


def _live_until(path: Path, number: int) -> None:
    statements = count(1)

    def one_more(_statement: str) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger = Ledger(path)
    ledger._connection.set_trace_callback(one_more)
    life(ledger, "demo")
    os._exit(0)


def _live_on(path: Path, name: str, told: Connection) -> None:
    with Ledger(path) as ledger:
        for number in count():
            life(ledger, f"{name}-{number}")
            told.send(f"{name}-{number}")
