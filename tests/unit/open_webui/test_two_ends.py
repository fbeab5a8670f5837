"""What this side and the web UI's program on a box have to do alike: neither can import the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpubox import snapshots, web_ui_line
from webui_box import records
from webui_box import snapshots as on_box

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Shorter than a line, as long as one to the byte, and longer than several; a character that JSON writes as six.
RECORDS: tuple[dict[str, Any], ...] = (
    {},
    {"a": "x" * (60_000 - len('{"a":""}'))},
    {"b": ["诗" * 50_000, 1.5, None]},
    {"c": "\n+="},
)


def test_what_a_box_writes_is_read_here() -> None:
    found: list[dict[str, Any]] = []
    reader = web_ui_line.Records(found.append)
    for record in RECORDS:
        for line in records.lines(record):
            reader.feed(line.removesuffix("\n"))
    assert tuple(found) == RECORDS


def test_what_is_written_here_is_read_on_a_box() -> None:
    text = b"".join(web_ui_line.encoded(record) for record in RECORDS).decode("ascii")
    assert tuple(records.read(text.splitlines(keepends=True))) == RECORDS
    assert all(len(line) <= 60_001 for line in text.splitlines())


@pytest.mark.parametrize("minutes", [1, 15, 60, 7 * 60, 3 * 24 * 60])
def test_the_same_snapshots_stay_on_both_sides(minutes: int) -> None:
    times = [NOON - count * timedelta(minutes=minutes) for count in range(200)]
    stay = snapshots.kept(times, NOON)
    assert stay == on_box.kept(times, NOON)
    assert len(stay) >= 24
