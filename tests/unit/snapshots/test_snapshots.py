"""Snapshots at home: when they are due, which stay, and what a clock that jumps does to them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from filelock import FileLock

from gpubox import backups, paths, snapshots
from gpubox.errors import Unreachable
from gpubox.history.about import ABOUT, About
from gpubox.ledger import Ledger
from gpubox.remote import tunnel_files
from gpubox.remote.process import Process
from gpubox.remote.tunnel_files import State
from gpubox.snapshot_daemon import every_of, run, tunnel_open
from waits import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERY = timedelta(minutes=15)


def made(at: datetime, text: str = "x") -> Path:
    """A snapshot of `mybox` as the backup machinery leaves it."""
    place = backups.fresh_name(snapshots.below() / "mybox", at)
    file = place / backups.FILES / "open-webui/data/webui.db"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    saved = backups.Saved(
        "open-webui/data/webui.db", "/r", len(text), sha256, 0, 0o600, 0, 0, "declared", "web", "sqlite"
    )
    manifest = backups.Manifest("mybox", at.isoformat(), "/r", "/d", "/h", (saved,), (), ())
    backups.write(place, manifest)
    return place


def test_which_stay() -> None:
    times = [NOON - n * EVERY for n in range(24 * 4 * 20)]
    stay = snapshots.kept(times, NOON)
    assert {NOON - n * EVERY for n in range(24)} <= stay
    older = sorted(stay - {NOON - n * EVERY for n in range(24)})
    # The last of every day of two weeks.
    assert len(older) == 14
    assert {(at.hour, at.minute) for at in older} == {(23, 45)}
    assert older[0].date() == (NOON - timedelta(days=14)).date()
    assert snapshots.kept([], NOON) == set()


def test_what_has_not_changed_is_not_kept_and_is_known_to_be_current() -> None:
    assert snapshots.newest("mybox") is None
    first = made(NOON)
    assert snapshots.settle("mybox", first, NOON)
    same = made(NOON + EVERY)
    assert not snapshots.settle("mybox", same, NOON + EVERY)
    assert not same.exists()
    found = snapshots.newest("mybox")
    assert found is not None
    assert (found.place, found.at, found.current) == (first, NOON, NOON + EVERY)
    assert found.words() == f"the chats are here as they were at 2026-11-22 12:15 UTC ({first})"
    other = made(NOON + 2 * EVERY, "y")
    assert snapshots.settle("mybox", other, NOON + 2 * EVERY)
    found = snapshots.newest("mybox")
    assert found is not None
    assert found.place == other


def test_a_web_ui_that_has_just_begun_is_not_kept() -> None:
    first = made(NOON)
    snapshots.settle("mybox", first, NOON)
    fresh = made(NOON + EVERY, "fresh")
    holds = About(version="0.12.4", alembic=None, rows={}, users=1, chats=0, messages=0, last_message_at=None)
    (fresh / ABOUT).write_text(json.dumps(holds.as_dict()))
    assert not snapshots.settle("mybox", fresh, NOON + EVERY)
    found = snapshots.newest("mybox")
    assert found is not None
    assert found.place == first


def test_old_ones_go() -> None:
    old = [made(NOON - timedelta(days=40) + n * EVERY, str(n)) for n in range(3)]
    for n in range(snapshots.KEPT):
        snapshots.settle("mybox", made(NOON + n * EVERY, f"new {n}"), NOON + n * EVERY)
    assert not [place for place in old if place.exists()]
    assert len([place for place in (snapshots.below() / "mybox").iterdir() if place.is_dir()]) == snapshots.KEPT


class Clock:
    """A day that passes as fast as it is slept through."""

    def __init__(self) -> None:
        self.now = NOON
        self.ticks = 0
        self.taken: list[datetime] = []
        # At which time it jumps, and how far.
        self.jumps: dict[datetime, timedelta] = {}
        self.broken = False

    def pause(self, seconds: float) -> None:
        self.ticks += 1
        self.now += timedelta(seconds=seconds)
        for at, far in list(self.jumps.items()):
            if self.now >= at:
                self.now += far
                del self.jumps[at]

    def take(self, name: str) -> None:
        self.taken.append(self.now)
        if self.broken:
            raise Unreachable("no route")
        snapshots.note_look(name, self.now)

    def run(self, **awake: int) -> list[datetime]:
        """For so long, not counting what it slept."""
        end = timedelta(**awake).total_seconds()
        run("mybox", wanted=lambda: self.ticks < end, every=lambda: EVERY, take=self.take,
            now=lambda: self.now, pause=self.pause)  # fmt: skip
        return self.taken


def test_one_every_quarter_of_an_hour() -> None:
    assert Clock().run(hours=1) == [NOON + n * EVERY for n in range(4)]


def test_another_process_goes_on_where_one_ended() -> None:
    snapshots.note_look("mybox", NOON - timedelta(minutes=5))
    assert Clock().run(minutes=12) == [NOON + timedelta(minutes=10)]


def test_a_machine_that_slept_catches_up_once() -> None:
    clock = Clock()
    clock.jumps[NOON + timedelta(minutes=1)] = timedelta(hours=8)
    woken = NOON + timedelta(hours=8, minutes=1)
    assert clock.run(minutes=15) == [NOON, woken]


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    clock = Clock()
    clock.jumps[NOON + timedelta(minutes=1)] = -timedelta(days=300)
    assert len(clock.run(minutes=8)) == 2


def test_a_box_out_of_reach_is_asked_again_and_not_all_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.broken = True
    assert clock.run(minutes=11) == [NOON + n * timedelta(minutes=5) for n in range(3)]
    assert "no route" in capsys.readouterr().err


def test_it_ends_when_the_box_file_wants_none_any_more() -> None:
    clock = Clock()
    run("mybox", wanted=lambda: True, every=lambda: None, take=clock.take, now=lambda: NOON, pause=clock.pause)
    assert clock.taken == []


def test_two_processes_never_do_it_at_once(tmp_path: Path) -> None:
    """The second ends at once; without the lock it would go on for as long as the tunnel is open."""
    box_file = tmp_path / "mybox.yml"
    box_file.write_text("provider: attach\nengine: vllm\nmodel: small-gpt\nweb_ui: {snapshots: {every: 15m}}\n")
    with Ledger() as ledger:
        ledger.add("mybox", "attach", state="running", box_file=box_file)
    directory = paths.box_dir("mybox")
    now = NOON.isoformat()
    state = State(Process.me(), None, "connected", now, 0, None, None, None, ())
    tunnel_files.write(directory / tunnel_files.STATE, state)
    assert (tunnel_open("mybox"), every_of("mybox")) == (True, EVERY)
    argv = [sys.executable, "-m", "gpubox.snapshot_daemon", "mybox"]
    with FileLock(directory / "snapshots.lock"):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshots.looked_at("mybox") is None


def test_the_process_ends_with_the_tunnel_and_when_it_is_told_to() -> None:
    snapshots.begin("mybox")
    started = snapshots.running("mybox")
    # No tunnel is open, so it ends by itself; and nothing is left of it when it is ended.
    until(lambda: snapshots.running("mybox") is None, "its end")
    snapshots.end("mybox")
    assert started is None or not started.alive()
    assert not (paths.box_dir("mybox") / "snapshots.json").exists()
