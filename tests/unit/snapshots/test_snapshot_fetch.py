"""A snapshot on a disk of a box comes home, whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gpubox import backups, snapshots, web_ui_line
from gpubox.converge.progress import Board, Silent
from gpubox.errors import Failed
from gpubox.ledger import Ledger
from gpubox.snapshot_fetch import from_box
from unit.history.world import World, tree
from webui_box.snapshots import Wanted, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk with two snapshots of `mybox`, and a box that is this machine."""

    def on_box(_host: object, root: str, words: list[str], on_record: Callable[[dict[str, Any]], None]) -> None:
        assert root == "/root/gpubox"
        web_ui_line.here(words, on_record)

    monkeypatch.setattr("gpubox.snapshot_fetch.web_ui_line.on_box", on_box)
    with Ledger() as ledger:
        identity = tmp_path / "id"
        fields = {
            "host": "127.0.0.1",
            "port": 9,
            "user": "root",
            "host_key": "ssh-ed25519 AAAA",
            "identity_file": identity,
        }
        ledger.add("mybox", "attach", state="running", root="/root/gpubox", **fields)
    world = World(tmp_path / "box")
    asked = Wanted(tmp_path / "box", tmp_path / "disk", "mybox", 900)
    world.chat("c1", "你好", tree(("a", None, "user", "hi")))
    take(asked, NOON)
    world.chat("c2", "more", {})
    take(asked, NOON + timedelta(minutes=15))
    world.database.close()
    return tmp_path / "disk"


def fetch(place: Path) -> Path:
    return from_box("mybox", str(place), board=Board(Silent()))


@pytest.mark.parametrize("named", [".", "mybox", "mybox/20261122T121500Z"])
def test_the_newest_comes_home_and_is_a_backup(disk: Path, named: str) -> None:
    place = fetch(disk / named)
    assert place == snapshots.below() / "mybox/20261122T121500Z"
    assert backups.checked(place).name == "mybox"
    # A second time it is there.
    assert fetch(disk / named) == place
    assert [each.name for each in place.parent.iterdir()] == [place.name]


def test_a_rotten_one_does_not(disk: Path) -> None:
    database = disk / "mybox/20261122T121500Z/files/open-webui/data/webui.db"
    database.chmod(0o600)
    with database.open("r+b") as file:
        file.seek(4000)
        file.write(b"rot")
    with pytest.raises(Failed, match="not what it was"):
        fetch(disk)
    assert list((snapshots.below() / "mybox").iterdir()) == []


def test_of_several_boxes_one_has_to_be_named(disk: Path) -> None:
    (disk / "mybox").rename(disk / "other")
    (disk / "mine").mkdir()
    (disk / "other/20261122T120000Z").rename(disk / "mine/20261122T120000Z")
    with pytest.raises(Failed, match="several boxes; name one of"):
        fetch(disk)
    with pytest.raises(Failed, match="no snapshot in"):
        fetch(disk / "nowhere")
