"""A box that is cut off when it shall go: what is here of its chats is said."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from gpubox import snapshots
from gpubox.ledger import Ledger
from gpubox.teardown import cannot_be_seen
from unit.snapshots.test_snapshots import made

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_the_newest_snapshot_is_named() -> None:
    place = made(NOON)
    snapshots.settle("mybox", place, NOON)
    with Ledger() as ledger:
        ledger.add("mybox", "attach", state="running")
        teardown = cast("Any", SimpleNamespace(ledger=ledger))
        intent = cast("Any", SimpleNamespace(name="mybox", last_backup=None, last_heard=None))
        said = cannot_be_seen(teardown, intent, "no route").message
    assert f"nothing was backed up; the chats are here as they were at 2026-11-22 12:00 UTC ({place})" in said
