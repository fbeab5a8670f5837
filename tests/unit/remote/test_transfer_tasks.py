"""What a connection is asked for at once, and when further connections pay."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubox.remote.transfer_item import Item
from gpubox.remote.transfer_part import SEGMENT
from gpubox.remote.transfer_tasks import SMALL, Pace, batches, worth_connecting

MIB = 1 << 20


@pytest.mark.parametrize(
    ("left", "came", "seconds", "worth"),
    [
        # 150 MiB/s, and three seconds to go.
        (450 * MIB, 150 * MIB, 1.0, True),
        # It ends before they have logged in.
        (150 * MIB, 150 * MIB, 1.0, False),
        # A slow line, and little to come.
        (9 * MIB, 1 * MIB, 1.0, True),
        (1 * MIB, 1 * MIB, 1.0, False),
        # Nobody knows yet how fast it is.
        (450 * MIB, 1 * MIB, 0.1, False),
        (0, 1 * MIB, 60.0, False),
    ],
)
def test_further_connections_have_to_bring_more_than_they_cost(
    left: int, came: int, seconds: float, worth: bool
) -> None:
    assert worth_connecting(left, came, seconds) is worth


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([0] * 300, [128, 128, 44]),
        ([SMALL] * 17, [8, 8, 1]),
        ([SMALL] * 8 + [1], [8, 1]),
        ([10] * 3, [3]),
    ],
)
def test_small_files_go_together_as_far_as_one_request_goes(sizes: list[int], counts: list[int]) -> None:
    items = [Item(str(number), "", Path(), size, 0) for number, size in enumerate(sizes)]
    made = batches(items)
    assert [len(batch.items) for batch in made] == counts
    assert [item.source for batch in made for item in batch.items] == [item.source for item in items]
    assert all(batch.size == sum(item.size for item in batch.items) for batch in made)


def test_after_a_cut_little_is_asked_for_then_more_and_more() -> None:
    pace = Pace()
    assert pace.piece == SEGMENT
    pace.went_well()
    assert pace.piece == SEGMENT
    pace.cut()
    small = pace.piece
    assert small < SEGMENT / 16
    pace.went_well()
    assert small < pace.piece < 2 * small
    for _ in range(1000):
        pace.went_well()
    assert pace.piece == SEGMENT
