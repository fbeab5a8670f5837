"""Cores, bf16 and threads: decisions from what a machine says of itself."""

from __future__ import annotations

import pytest
from small_gpt.machine import Threads, cgroup_cores, cores, has_bf16


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 clzero", True),
        ("flags\t\t: amx_bf16 amx_tile", True),
        ("flags\t\t: avx512f avx512_bf16_not", False),
        ("flags\t\t: avx2 fma", False),
        ("", False),
    ],
)
def test_native_bf16(cpuinfo: str, native: bool) -> None:
    assert has_bf16(cpuinfo) is native


@pytest.mark.parametrize(
    ("cpu_max", "quota", "period", "limit"),
    [
        ("max 100000\n", "", "", None),
        ("150000 100000\n", "", "", 1.5),
        ("", "-1\n", "100000\n", None),
        ("", "1200000\n", "100000\n", 12.0),
        ("", "", "", None),
        ("100000 0", "", "", None),
    ],
)
def test_cgroup_limits_of_both_versions(cpu_max: str, quota: str, period: str, limit: float | None) -> None:
    assert cgroup_cores(cpu_max, quota, period) == limit


def test_there_is_a_core() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(("asked", "count"), [(0, 1), (1, 1), (3, 3)])
def test_one_thread_unless_more_are_asked_for(asked: int, count: int) -> None:
    probed: list[int] = []

    def speed(threads: int) -> float:
        probed.append(threads)
        return 1000.0

    assert Threads(asked, speed).count == count
    assert probed == ([1] if count > 1 else []), "one thread has nothing to be compared with"


@pytest.mark.parametrize(
    ("asked", "speed_of_steps", "cut_after"),
    [
        (2, [1900] * 20, None),
        (2, [1900] * 6 + [100] * 20, 12),  # somebody else came: the mean of six steps is below 800 at once
        (2, [100] * 20, 6),  # from the start
        (1, [100] * 20, None),
    ],
)
def test_threads_that_fight_are_given_up(asked: int, speed_of_steps: list[int], cut_after: int | None) -> None:
    threads = Threads(asked, {1: 1000.0}.__getitem__)
    cuts = [number for number, speed in enumerate(speed_of_steps, 1) if threads.watch(speed, 1.0)]
    assert len(cuts) <= 1
    assert not cuts if cut_after is None else cuts and 6 <= cuts[0] <= cut_after
    assert threads.count == (1 if cuts or asked == 1 else 2)
