"""The callback's file: what a follower sees of a run, and what nobody may see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from unit.ansible.conftest import Ansible

SECRET = "hunter2-very-secret"


def shell(name: str, script: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.command": {"argv": ["sh", "-c", script]}, **fields}


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tells_the_run_and_keeps_secrets(ansible: Ansible) -> None:
    path = ansible.place / "events.jsonl"
    ansible.environment["GPUBOX_EVENTS"] = str(path)
    tasks = [
        shell("Fine", "true", changed_when=False),
        shell("Change", "true"),
        shell("Skipped", "true", when=False),
        shell("Hidden {{ secret }}", "echo {{ secret }} >&2; exit 3", no_log=True, ignore_errors=True),
        shell("Hidden loop", "exit 3", no_log=True, ignore_errors=True, loop=["{{ secret }}"]),
        shell(
            "Loop",
            "test {{ item.n }} = 1 || { echo item broke >&2; exit 4; }",
            loop=[{"n": 1}, {"n": 2}],
            loop_control={"label": "number {{ item.n }}"},
            ignore_errors=True,
        ),
        shell("Broken", "seq 1 5000 >&2; exit 5"),
        shell("Never reached", "true"),
    ]
    done = ansible.play(tasks, variables={"secret": SECRET})
    assert done.returncode == 2, done.stderr
    told = events(path)
    assert SECRET not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0

    assert told[0]["event"] == "start"
    assert (told[1]["event"], told[1]["name"], told[1]["tasks"]) == ("play", "Test", 8)
    names = {event["id"]: event["name"] for event in told if event["event"] == "task"}
    results = {names[event["id"]]: event for event in told if event["event"] == "result"}
    assert {name: event["status"] for name, event in results.items()} == {
        "Fine": "ok",
        "Change": "changed",
        "Skipped": "skipped",
        "Hidden {{ secret }}": "ignored",
        "Hidden loop": "ignored",
        "Loop": "ignored",
        "Broken": "failed",
    }
    assert results["Hidden loop"]["msg"] == "(hidden: no_log)"
    assert (results["Loop"]["item"], results["Loop"]["stderr"]) == ("number 2", "item broke")
    assert results["Broken"]["msg"] == "non-zero return code"
    assert results["Broken"]["stderr"].endswith("\n5000")
    assert len(results["Broken"]["stderr"]) == 4000
    assert results["Broken"]["s"] > 0
    assert told[-1]["event"] == "end"
    assert told[-1]["hosts"]["localhost"]["failures"] == 1


def test_names_roles(ansible: Ansible) -> None:
    path = ansible.place / "events.jsonl"
    ansible.environment["GPUBOX_EVENTS"] = str(path)
    role = {"name": "Base", "ansible.builtin.import_role": {"name": "base"}}
    assert ansible.play([role], "-e", f"gpubox_root={ansible.root}").returncode == 0
    told = events(path)
    tasks = [event for event in told if event["event"] == "task"]
    assert {event["role"] for event in tasks} == {"base"}
    assert len(tasks) == told[1]["tasks"]


def test_tells_when_jobs_ran_that_were_waited_for(ansible: Ansible) -> None:
    path = ansible.place / "events.jsonl"
    ansible.environment["GPUBOX_EVENTS"] = str(path)
    job = {"root": str(ansible.root), "state": "done", "key": "k", "argv": ["works"], "secret_env": {"TOKEN": SECRET}}
    tasks = [
        {"name": "One", "gpubox_job": {**job, "name": "one"}},
        {"name": "Both", "gpubox_job": {**job, "name": "{{ item }}"}, "loop": ["one", "two"]},
        {"name": "Only started", "gpubox_job": {**job, "name": "three", "state": "started"}},
    ]
    done = ansible.play(tasks)
    assert done.returncode == 0, done.stdout
    told = events(path)
    names = {event["id"]: event["name"] for event in told if event["event"] == "task"}
    jobs = {names[event["id"]]: event.get("jobs") for event in told if event["event"] == "result"}
    times = {"started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:05:05Z"}
    assert jobs == {
        "One": [{"name": "one", **times}],
        "Both": [{"name": "one", **times}, {"name": "two", **times}],
        "Only started": None,
    }
    assert SECRET not in path.read_text()


def test_trouble_with_the_file_stops_nothing(ansible: Ansible) -> None:
    ansible.environment["GPUBOX_EVENTS"] = str(ansible.place / "no" / "such" / "directory" / "events.jsonl")
    done = ansible.play([shell("Fine", "true")])
    assert done.returncode == 0
    assert "no events are written" in done.stderr
    ansible.environment["GPUBOX_EVENTS"] = "/dev/full"
    done = ansible.play([shell("Fine", "true")])
    assert done.returncode == 0
    assert "No space left on device" in done.stderr


def test_passes_on_what_a_role_says_but_nothing_secret(ansible: Ansible) -> None:
    path = ansible.place / "events.jsonl"
    ansible.environment["GPUBOX_EVENTS"] = str(path)
    tasks: list[dict[str, Any]] = [
        {"name": "Say it", "ansible.builtin.debug": {"msg": "the nodes are not used alike"}},
        {"name": "Hide it", "ansible.builtin.debug": {"msg": SECRET}, "no_log": True},
        {"name": "Not said", "ansible.builtin.debug": {"msg": "x"}, "when": False},
    ]
    assert ansible.play(tasks).returncode == 0
    told = events(path)
    names = {event["id"]: event["name"] for event in told if event["event"] == "task"}
    said = {names[event["id"]]: event.get("msg") for event in told if event["event"] == "result"}
    assert said == {"Say it": "the nodes are not used alike", "Hide it": None, "Not said": None}
