"""What followers see of a job: how far, how fast, how long still."""

from __future__ import annotations

import pytest

from gpubox.converge.jobs import Job, clock, job_words, seconds_of


def test_speed_and_time_left_are_of_the_last_seconds() -> None:
    job = Job("model-x")
    job.take({"done": 0, "total": 1000, "unit": "B"}, now=0)
    assert job.speed(now=0.5) is None
    for second in range(1, 41):
        # First 1 B/s, then 10 B/s.
        done = second if second <= 10 else 10 + (second - 10) * 10
        job.take({"done": done, "total": 1000, "unit": "B"}, now=second)
    assert job.speed(now=40) == pytest.approx(10)
    assert job.left(now=40) == pytest.approx((1000 - 310) / 10)


def test_a_stalled_job_says_so() -> None:
    job = Job("model-x")
    job.take({"done": 0, "total": 9e9, "unit": "B"}, now=0)
    job.take({"done": 3e9, "total": 9e9, "unit": "B"}, now=10)
    assert job.speed(now=10) == 3e8
    assert job.speed(now=40) == 0
    assert job.left(now=40) is None
    assert job_words(job.progress, speed=job.speed(now=40)) == "3.0 GB of 9.0 GB · nothing comes"


def test_what_the_job_itself_says_comes_first() -> None:
    job = Job("model-x")
    job.take({"done": 1, "total": 9, "speed": 2.0, "seconds_left": 65, "state": "running"}, now=0)
    assert (job.speed(now=1), job.left(now=1)) == (2.0, 65)


def test_counting_anew_forgets_the_old_speed() -> None:
    job = Job("train")
    job.take({"done": 90, "total": 100}, now=0)
    job.take({"done": 100, "total": 100}, now=10)
    job.take({"done": 0, "total": 5}, now=11)
    assert job.speed(now=12) is None


def test_an_ended_job_has_no_speed() -> None:
    job = Job("env")
    job.take({"done": 1, "total": 2}, now=0)
    job.take({"done": 2, "total": 2, "state": "done", "started": "2026-01-02T03:04:05Z", "ended": 1}, now=5)
    assert (job.state, job.speed(now=5), job.left(now=5)) == ("done", None, None)
    assert (job.started, job.ended) == (1767323045.0, 1.0)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"label": "part 3", "done": 1_234_000_000, "total": 16e9, "unit": "B"}, "part 3 · 1.2 GB of 16.0 GB"),
        ({"done": 512, "unit": "B"}, "512 B"),
        ({"done": 5e6, "unit": "B", "files": 2, "of": 7, "connections": 8}, "5.0 MB · 2 of 7 files · connections 8"),
        ({"done": 5e6, "unit": "B", "files": 0, "of": 1}, "5.0 MB"),
        ({"done": 150e6, "total": 404e9, "unit": "B"}, "150 MB of 404 GB"),
        (
            {"label": "epoch", "done": 2, "total": 3, "unit": "step", "loss": 0.51234},
            "epoch · 2 of 3 step · loss 0.512",
        ),
        ({"label": "x", "speed": 3, "state": "done", "started": 1, "fine": True}, "x"),
    ],
)
def test_words(progress: dict[str, object], words: str) -> None:
    assert job_words(progress) == words


def test_words_with_speed_and_time_left() -> None:
    progress = {"done": 1e9, "total": 3e9, "unit": "B"}
    assert job_words(progress, speed=25e6, left=80) == "1.0 GB of 3.0 GB · 25.0 MB/s · 1:20 min left"
    # Steps per second say little to anybody; the time left does.
    assert job_words({"done": 1, "total": 3, "unit": "step"}, speed=0.5, left=4) == "1 of 3 step · 4.0 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.24, "4.2 s"), (65, "1:05 min"), (7387, "2:03:07 h"), (59.96, "60.0 s")]
)
def test_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


@pytest.mark.parametrize("moment", [None, "yesterday", [], {}])
def test_no_moment(moment: object) -> None:
    assert seconds_of(moment) is None
