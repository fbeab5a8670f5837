"""Copies on a disk that survives the box: when, what, and whether gpubox at home takes them for whole backups."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gpubox import backups
from gpubox.history import about
from unit.history.world import IMAGE, World, tree
from webui_box.errors import Trouble
from webui_box.snapshots import FETCHED, Wanted, run, take, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A web UI that runs."""
    made = World(tmp_path / "box")
    yield made
    made.database.close()


@pytest.fixture
def asked(world: World, tmp_path: Path) -> Wanted:
    """A web UI with one chat and one upload, and a disk."""
    world.chat("c1", "你好", tree(("a", None, "user", "hi")))
    world.upload(IMAGE, "cat.png", b"png")
    (world.place / "admin-password").write_text("pw")
    (tmp_path / "disk").mkdir()
    return wanted([str(world.place.parent), "--to", str(tmp_path / "disk/web-ui"), "--name", "mybox", "--every", "900"])


def whole(asked: Wanted) -> list[Path]:
    return sorted(place for place in asked.below.iterdir() if place.name[0] != ".")


def test_a_copy_is_a_whole_backup_with_what_was_in_the_log_only(asked: Wanted, world: World) -> None:
    take(asked, NOON)
    (place,) = whole(asked)
    manifest = backups.checked(place)
    assert {file.path for file in manifest.files} == {
        "open-webui/data/webui.db",
        f"open-webui/data/uploads/{IMAGE}_cat.png",
        "open-webui/secret-key",
        "open-webui/admin-password",
        "open-webui/version.json",
    }
    # The database was never written through: a copy of its file alone would have no table.
    found = about.in_backup(place / backups.FILES)
    assert (found.version, found.chats, found.users) == ("0.12.4", 1, 2)
    assert {path.stat().st_mode & 0o077 for path in asked.below.rglob("*")} == {0}


def test_only_what_changed_makes_a_new_one_and_uploads_are_shared(asked: Wanted, world: World) -> None:
    take(asked, NOON)
    assert take(asked, NOON + timedelta(minutes=15)) == "nothing has changed"
    world.chat("c2", "two", {})
    take(asked, NOON + timedelta(minutes=30))
    first, second = whole(asked)
    upload = f"files/open-webui/data/uploads/{IMAGE}_cat.png"
    assert (first / upload).stat().st_ino == (second / upload).stat().st_ino
    backups.checked(first)
    backups.checked(second)


def test_a_web_ui_that_has_just_begun_is_not_copied(asked: Wanted, world: World) -> None:
    take(asked, NOON)
    world.database.execute("DELETE FROM chat")
    assert take(asked, NOON + timedelta(minutes=15)) == "there is no chat yet"
    assert [place.name for place in asked.below.iterdir()] == ["20261122T120000Z"]


def test_a_disk_that_is_not_there_is_no_place_to_write_to(asked: Wanted, tmp_path: Path) -> None:
    (tmp_path / "disk").rmdir()
    with pytest.raises(Trouble, match="is that disk there"):
        take(asked, NOON)
    assert not (tmp_path / "disk").exists()


def test_a_copy_that_fails_leaves_the_ones_before(asked: Wanted, world: World) -> None:
    take(asked, NOON)
    (world.place / "data/webui.db").write_bytes(b"rotten" * 1000)
    (world.place / "data/webui.db-wal").unlink()
    with pytest.raises(sqlite3.DatabaseError):
        take(asked, NOON + timedelta(minutes=15))
    assert [place.name for place in asked.below.iterdir()] == ["20261122T120000Z"]


class Clock:
    """Time that passes as fast as it is slept through; `at` says what happens when."""

    def __init__(self, asked: Wanted) -> None:
        self.asked = asked
        self.now = NOON

    def run(self, world: World, minutes: int, *, laptop: bool = False) -> list[str]:
        """People write all the time; the laptop fetches every ten minutes, or not at all."""
        end = self.now + timedelta(minutes=minutes)
        fetched = self.asked.root / FETCHED
        fetched.parent.mkdir(exist_ok=True)

        def pause(seconds: float) -> None:
            self.now += timedelta(seconds=seconds)
            world.database.execute("UPDATE chat SET updated_at = updated_at + 1")
            if laptop and self.now.second == 0 and self.now.minute % 10 == 0:
                fetched.touch()
                os.utime(fetched, (self.now.timestamp(), self.now.timestamp()))

        run(self.asked, now=lambda: self.now, pause=pause, forever=lambda: self.now < end)
        return [place.name[9:13] for place in whole(self.asked)]


def test_every_quarter_of_an_hour_while_nobody_fetches(asked: Wanted, world: World) -> None:
    assert Clock(asked).run(world, 50) == ["1200", "1215", "1230", "1245"]


def test_none_while_the_laptop_does_and_again_when_it_is_gone(asked: Wanted, world: World) -> None:
    clock = Clock(asked)
    assert clock.run(world, 60, laptop=True) == ["1200"]
    assert clock.run(world, 20) == ["1200", "1315"]


def test_what_stands_in_the_manifest_is_what_home_writes(asked: Wanted) -> None:
    take(asked, NOON)
    data = json.loads((whole(asked)[0] / "manifest.json").read_text())
    assert set(data["files"][0]) == set(backups.Saved._fields)
    assert (data["name"], data["root"]) == ("mybox", str(asked.root))
