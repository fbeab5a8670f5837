"""Jobs: done once, ended whole, and never shown as running when they are not."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import alive, bearing
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.boxctl.root import Root

    Spec = Callable[..., dict[str, Any]]


def test_the_same_work_is_done_once(root: Root, spec: Spec, tmp_path: Path) -> None:
    work = spec(f"echo x >> {tmp_path}/ran; echo it is done", key="1", description="writes a line")
    assert root.boxctl("job", "start", "work", stdin=work)["changed"]
    done = root.boxctl("job", "wait", "work", "--timeout", "60")["job"]
    assert (done["state"], done["exit_code"], done["description"], done["pid"]) == ("done", 0, "writes a line", None)
    assert done["started"] <= done["ended"]
    assert not root.boxctl("job", "start", "work", stdin=work)["changed"]
    assert root.boxctl("job", "start", "work", stdin={**work, "key": "2"})["changed"]
    root.boxctl("job", "wait", "work", "--timeout", "60")
    assert (tmp_path / "ran").read_text() == "x\nx\n"


def test_a_failed_job_says_why_and_is_started_again(root: Root, spec: Spec, tmp_path: Path) -> None:
    work = spec(f"echo 'ValueError: no such model'; sleep 0; echo; test -e {tmp_path}/mended", key="1")
    root.boxctl("job", "start", "work", stdin=work)
    answer = root.boxctl("job", "wait", "work", "--timeout", "60", code=1)
    assert "failed with exit code 1: ValueError: no such model" in answer["error"]
    assert (answer["job"]["state"], answer["job"]["last_error"]) == ("failed", "ValueError: no such model")
    (tmp_path / "mended").touch()
    assert root.boxctl("job", "start", "work", stdin=work)["changed"]
    assert root.boxctl("job", "wait", "work", "--timeout", "60")["job"]["last_error"] is None


def test_many_starts_at_once_make_one_job(root: Root, spec: Spec, tmp_path: Path) -> None:
    work = spec(f"echo x >> {tmp_path}/ran; exec sleep 1000", key="1")
    changed = []
    threads = [
        threading.Thread(target=lambda: changed.append(root.boxctl("job", "start", "work", stdin=work)["changed"]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False, False, False, True]
    until((tmp_path / "ran").exists)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_other_work_does_not_end_what_runs(root: Root, spec: Spec) -> None:
    root.boxctl("job", "start", "work", stdin=spec("exec sleep 1000", key="1"))
    answer = root.boxctl("job", "start", "work", stdin=spec("exec sleep 1000", key="2"), code=1)
    assert "runs already, with other work" in answer["error"]
    assert "job cancel work" in answer["hint"]
    assert root.job("work")["key"] == "1"


def test_wait_ends_at_its_timeout_and_the_job_goes_on(root: Root, spec: Spec) -> None:
    root.boxctl("job", "start", "work", stdin=spec("exec sleep 1000", key="1"))
    answer = root.boxctl("job", "wait", "work", "--timeout", "0.2", code=1)
    assert answer["timed_out"]
    assert root.job("work")["state"] == "running"


def test_cancel_ends_grandchildren_in_sessions_of_their_own(root: Root, spec: Spec, tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; echo \\$\\$ > {tmp_path}/stubborn; while :; do sleep 1; done"
    script = f'setsid sh -c "{stubborn}" & setsid sleep 1000 & echo $! > {tmp_path}/worker; exec sleep 1001'
    root.boxctl("job", "start", "work", stdin=spec(script, key="1", stop_seconds=1))
    files = (tmp_path / "stubborn", tmp_path / "worker")
    until(lambda: all(file.exists() and file.read_text() for file in files))
    assert root.boxctl("job", "cancel", "work")["job"]["state"] == "cancelled"
    assert not any(alive(int(file.read_text())) for file in files)
    assert bearing("GPUBOX_JOB=work") == []
    assert not root.boxctl("job", "cancel", "work")["changed"]


def test_what_a_job_that_ended_leaves_behind_is_ended(root: Root, spec: Spec, tmp_path: Path) -> None:
    script = f"setsid sleep 1000 & echo $! > {tmp_path}/worker; exit 7"
    root.boxctl("job", "start", "work", stdin=spec(script, key="1"))
    assert root.boxctl("job", "wait", "work", "--timeout", "60", code=1)["job"]["exit_code"] == 7
    assert not alive(int((tmp_path / "worker").read_text()))


def test_a_job_outlives_a_killed_supervisord(root: Root, spec: Spec, tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo it went on"
    root.boxctl("job", "start", "work", stdin=spec(script, key="1"))
    old = root.supervisord()
    os.kill(old, signal.SIGKILL)
    until(lambda: root.supervisord() != old and root.run("boot", "--check").returncode == 0)
    assert root.job("work")["state"] == "running"
    (tmp_path / "go").touch()
    assert root.boxctl("job", "wait", "work", "--timeout", "60")["job"]["state"] == "done"
    assert "it went on" in root.run("logs", "work").stdout


def test_a_job_whose_wrapper_was_killed_is_lost_and_started_again_alone(root: Root, spec: Spec, tmp_path: Path) -> None:
    script = f"setsid sleep 1000 & echo $! >> {tmp_path}/workers; exec sleep 1001"
    work = spec(script, key="1")
    root.boxctl("job", "start", "work", stdin=work)
    workers = tmp_path / "workers"
    until(lambda: workers.exists() and workers.read_text())
    state = json.loads((root.path / "jobs/work/state.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    until(lambda: root.job("work")["state"] == "lost")
    assert "without a word" in root.job("work")["last_error"]
    assert "was lost" in root.boxctl("job", "wait", "work", "--timeout", "1", code=1)["error"]
    until(lambda: not alive(state["child"]))
    assert root.boxctl("job", "start", "work", stdin=work)["changed"]
    until(lambda: len(workers.read_text().split()) == 2)
    first, second = (int(word) for word in workers.read_text().split())
    assert not alive(first)
    assert alive(second)


def test_a_state_of_another_boot_is_lost_although_the_number_lives(root: Root, spec: Spec) -> None:
    root.boxctl("job", "start", "work", stdin=spec("exit 0", key="1"))
    root.boxctl("job", "wait", "work", "--timeout", "60")
    path = root.path / "jobs/work/state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "state": "running", "pid": os.getpid(), "ticks": 1}))
    assert root.job("work")["state"] == "lost"


def test_progress_is_the_last_report_or_the_last_line(root: Root, spec: Spec) -> None:
    script = """printf '%s\\n' '{"label": "epoch 1", "done": 1, "total": 2}' '{"label": "half' >> $GPUBOX_PROGRESS"""
    root.boxctl("job", "start", "work", stdin=spec(script.removesuffix('"') + "; exit 0", key="1"))
    root.boxctl("job", "wait", "work", "--timeout", "60")
    assert root.job("work")["progress"] == {"label": "epoch 1", "done": 1, "total": 2}
    root.boxctl("job", "start", "plain", stdin=spec("printf '1%%\\r50%%\\r99%%'; exit 0", key="1"))
    root.boxctl("job", "wait", "plain", "--timeout", "60")
    assert root.job("plain")["progress"] == {"label": "99%"}


def test_a_progress_file_of_its_own(root: Root, spec: Spec, tmp_path: Path) -> None:
    file = tmp_path / "progress"
    work = spec("echo '{\"done\": 5}' > $GPUBOX_PROGRESS", key="1", progress_file=str(file))
    root.boxctl("job", "start", "work", stdin=work)
    root.boxctl("job", "wait", "work", "--timeout", "60")
    assert root.job("work")["progress"] == {"done": 5}
    assert file.exists()


def test_remove_cancels_and_forgets_but_keeps_the_log(root: Root, spec: Spec) -> None:
    root.boxctl("job", "start", "work", stdin=spec("echo hello; exec sleep 1000", key="1"))
    until(lambda: "hello" in root.run("logs", "work").stdout)
    assert root.boxctl("job", "remove", "work")["changed"]
    assert root.boxctl("job", "list")["jobs"] == []
    assert bearing("GPUBOX_JOB=work") == []
    assert "hello" in root.run("logs", "work").stdout
    assert not root.boxctl("job", "remove", "work")["changed"]
    assert "no job" in root.boxctl("job", "cancel", "work", code=1)["error"]


def test_a_program_that_is_not_there(root: Root) -> None:
    root.boxctl("job", "start", "work", stdin={"key": "1", "argv": ["/nowhere/train"]})
    job = root.boxctl("job", "wait", "work", "--timeout", "60", code=1)["job"]
    assert job["exit_code"] == 127
    assert "cannot run `/nowhere/train`" in job["last_error"]


@pytest.mark.parametrize("first", ["job", "service"])
def test_a_job_and_a_service_do_not_share_a_name(root: Root, spec: Spec, first: str) -> None:
    job, service = spec("exit 0", key="1"), spec("exec sleep 1000")
    start = (("job", "start", "x"), job), (("service", "apply", "x"), service)
    (one, one_spec), (other, other_spec) = start if first == "job" else start[::-1]
    root.boxctl(*one, stdin=one_spec)
    assert "already" in root.boxctl(*other, stdin=other_spec, code=2)["error"]


def test_the_converge_s_name_is_taken(root: Root, spec: Spec) -> None:
    assert "is taken" in root.boxctl("job", "start", "converge", stdin=spec("exit 0", key="1"), code=2)["error"]
