"""Sets of byte ranges, against sets of bytes."""

from __future__ import annotations

import random
from itertools import pairwise

from model_fetch.ranges import Ranges


def test_ranges_are_what_sets_of_bytes_are() -> None:
    chance = random.Random(7)
    for _ in range(200):
        ranges, bytes_ = Ranges(), set[int]()
        for _ in range(chance.randrange(1, 15)):
            start = chance.randrange(40)
            end = chance.randrange(start, 41)
            assert ranges.add(start, end) == len(set(range(start, end)) - bytes_)
            bytes_ |= set(range(start, end))
        assert ranges.total == len(bytes_)
        assert {byte for start, end in ranges for byte in range(start, end)} == bytes_
        assert {byte for start, end in ranges.gaps(40) for byte in range(start, end)} == set(range(40)) - bytes_
        assert ranges.prefix == next(byte for byte in range(42) if byte not in bytes_)
        joined = list(ranges)
        assert all(end < start for (_, end), (start, _) in pairwise(joined))


def test_a_copy_is_another_one() -> None:
    ranges = Ranges([(0, 5)])
    ranges.copy().add(5, 9)
    assert ranges == Ranges([(0, 5)])
