"""Converge runs: one at a time, followed from any byte, and remembered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import alive
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.boxctl.root import Root

_SHA = "a" * 40

_PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: Wait for the word
      ansible.builtin.raw: "echo >> {{ gate }}.began; while [ ! -e '{{ gate }}' ]; do sleep 0.1; done; cat '{{ gate }}'"
      register: said
      changed_when: false
    - name: Do as told
      ansible.builtin.assert: {that: "'well' in said.stdout", fail_msg: "the model is missing: {{ said.stdout }}"}
"""

# What the real callback plugin does, in little.
_CALLBACK = '''
import json, os, time
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gpubox_events
type: aggregate
short_description: events
description: events
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpubox_events"
    CALLBACK_NEEDS_ENABLED = True

    def _say(self, **event):
        with open(os.environ["GPUBOX_EVENTS"], "a") as file:
            file.write(json.dumps(event) + "\\n")

    def v2_playbook_on_start(self, playbook):
        self._say(event="start", t=time.time())

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._say(event="task", id=task._uuid, name=task.get_name())

    def v2_runner_on_ok(self, result):
        self._say(event="result", status="ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._say(event="result", status="failed", msg=result.result["msg"])

    def v2_playbook_on_stats(self, stats):
        self._say(event="end")
'''


@pytest.fixture
def bundle(root: Root) -> Path:
    place = root.path / "bundles" / _SHA
    callbacks = place / "py_tools" / "gpubox" / "ansible_plugins" / "callback"
    if not place.exists():
        callbacks.mkdir(parents=True)
        (callbacks / "gpubox_events.py").write_text(_CALLBACK)
        (place / "playbooks").mkdir()
        (place / "playbooks" / "up.yml").write_text(_PLAYBOOK)
        (place / "roles").mkdir()
        (place / "ansible.cfg").write_text("[defaults]\ninterpreter_python = auto_silent\n")
    return place


@pytest.fixture
def start(root: Root, bundle: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def begin(digest: str = "d1", **variables: object) -> dict[str, Any]:
        argv = ("converge", "start", "--bundle", _SHA, "--digest", digest, "--playbook", "up.yml")
        return root.boxctl(*argv, stdin={"gate": str(tmp_path / "gate"), "password": "hush-hush", **variables})

    return begin


def _lines(follower: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = follower.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines()]


def _events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"]["event"] for line in lines if line["type"] == "event"]


def test_a_run_from_start_to_end(root: Root, start: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    begun = start()
    assert not begun["attached"]
    again = start(digest="d2")
    assert again == {"run": begun["run"], "attached": True, "digest": "d1"}
    assert root.boxctl("status")["converge"]["state"] == "running"
    fresh = root.boxctl("fresh", "--digest", "d1")
    assert (fresh["fresh"], "under way" in fresh["reason"]) == (False, True)
    follower = root.popen("follow", begun["run"])
    until((tmp_path / "gate.began").exists)
    root.boxctl("job", "start", "beside", stdin={"key": "1", "argv": ["sh", "-c", "echo 40 of 100; exec sleep 1000"]})
    assert follower.stdout is not None
    seen: list[dict[str, Any]] = []
    heard: set[str] = set()
    while not {"40 of 100", "heartbeat"} <= heard:
        seen.append(json.loads(follower.stdout.readline()))
        heard |= {seen[-1]["type"], str(seen[-1].get("progress", {}).get("label"))}
    (tmp_path / "gate").write_text("well")
    lines = seen + _lines(follower)
    assert _events(lines) == ["start", "task", "result", "task", "result", "end"]
    assert lines[-1] == {"type": "end", "state": "done", "exit_code": 0, "error": None}
    status = root.boxctl("status")
    assert (status["digest"], status["converge"]["state"], status["converge"]["id"]) == ("d1", "done", begun["run"])
    assert root.boxctl("fresh", "--digest", "d1")["fresh"]
    assert not root.boxctl("fresh", "--digest", "other")["fresh"]
    _followed_from_the_middle(root, begun["run"], lines)
    _kept_private(root, begun["run"])


def _followed_from_the_middle(root: Root, run: str, lines: list[dict[str, Any]]) -> None:
    events = [line for line in lines if line["type"] == "event"]
    for index, event in enumerate(events):
        rest = _lines(root.popen("follow", run, "--offset", str(event["offset"])))
        assert [line for line in rest if line["type"] == "event"] == events[index + 1 :]
        assert rest[-1]["type"] == "end"


def _kept_private(root: Root, run: str) -> None:
    place = root.path / "converge" / run
    assert (place / "vars.json").stat().st_mode & 0o077 == 0
    assert "hush-hush" in (place / "vars.json").read_text()
    assert not any(f"{run}/vars.json" in item["path"] for item in root.boxctl("manifest")["files"])
    assert "hush-hush" not in root.run("logs", "converge").stdout


def test_a_failed_run_says_what_the_task_said(root: Root, start: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("badly")
    run = start()["run"]
    end = _lines(root.popen("follow", run))[-1]
    assert (end["state"], end["error"].startswith("the model is missing: badly")) == ("failed", True)
    (job,) = [item for item in root.boxctl("status")["jobs"] if item["name"] == "converge"]
    assert job["last_error"] == end["error"].splitlines()[0]
    assert root.boxctl("status")["digest"] is None
    fresh = root.boxctl("fresh", "--digest", "d1")
    assert (fresh["fresh"], fresh["reason"]) == (False, "the last converge did not end well")
    # What ended before the next one began is still known after it.
    (tmp_path / "gate").write_text("well")
    _lines(root.popen("follow", start()["run"]))
    assert _lines(root.popen("follow", run))[-1]["state"] == "failed"


def test_a_killed_run_is_noticed(root: Root, start: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = start()["run"]
    until((tmp_path / "gate.began").exists)
    follower = root.popen("follow", run)
    os.kill(json.loads((root.path / "jobs/converge/state.json").read_text())["pid"], signal.SIGKILL)
    end = _lines(follower)[-1]
    assert (end["type"], end["state"]) == ("end", "lost")
    (tmp_path / "gate").write_text("well")
    assert not start()["attached"]
    until(lambda: root.boxctl("status")["converge"]["state"] == "done")


def test_a_follower_whose_reader_is_gone_ends(root: Root, start: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = start()["run"]
    follower = root.popen("follow", run)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.stdout.close()
    follower.wait(timeout=60)
    # A session that is killed leaves its command with a stdout that nobody will close.
    heard = tmp_path / "heard"
    script = f"'{root.path}/bin/boxctl' follow {run} >{heard} & echo $!; wait"
    session = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    orphan = int(session.stdout.readline())
    until(lambda: heard.exists() and "heartbeat" in heard.read_text())
    session.kill()
    session.wait(timeout=60)
    session.stdout.close()
    until(lambda: not alive(orphan))
    root.boxctl("job", "cancel", "converge")
    assert root.boxctl("status")["converge"]["error"] == "the converge was cancelled"


def test_only_the_last_runs_are_kept(root: Root, start: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    for number in range(12):
        place = root.path / "converge" / f"20000101T0000{number:02}-abcdef"
        place.mkdir(parents=True)
        (place / "run.json").write_text("{}")
    (tmp_path / "gate").write_text("well")
    run = start()["run"]
    kept = sorted(path.name for path in (root.path / "converge").iterdir())
    assert len(kept) == 10
    assert kept[-1] == run
    _lines(root.popen("follow", run))


def test_what_is_not_there_is_named(root: Root, bundle: Path) -> None:
    argv = ("converge", "start", "--digest", "d", "--playbook", "up.yml", "--bundle")
    assert "no playbook" in root.boxctl(*argv, "b" * 40, stdin={}, code=1)["error"]
    assert "no JSON" in root.boxctl(*argv, _SHA, stdin="{", code=2)["error"]
    assert "no run `20300101T000000-abcdef`" in root.boxctl("follow", "20300101T000000-abcdef", code=2)["error"]
