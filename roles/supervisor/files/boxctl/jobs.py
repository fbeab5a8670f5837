"""Jobs: programs that end. `state.json` is the truth, not supervisord, which a job may outlive."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxctl import files, lifecycle, logs, processes, programs, specs
from boxctl.errors import BoxctlError, UsageError
from boxctl.rpc import NotRunningError, Supervisord

if TYPE_CHECKING:
    from boxctl.layout import Layout

_START_TIMEOUT = 30.0
_LOST = "it ended without a word: the box was switched off, or it was killed, perhaps for lack of memory"


def start(layout: Layout, name: str, spec: specs.Job) -> dict[str, Any]:
    """Start a job, unless the same work (`key`) is done or under way; `{"job", "changed"}`. Returns when it runs.

    Raises `BoxctlError` when the job runs with another key: its work may be worth more than the new one.
    """
    place = layout.job(name)
    if (layout.service(name) / "service.json").exists():
        raise UsageError(f"`{name}` is a service already", hint="give the job another name: they share a log")
    with files.lock(layout.supervisor / f"job-{name}.lock"):
        before = read(layout, name)
        if before["state"] == "running" and before["key"] != spec.key:
            hint = f"wait for it, or end it with `boxctl job cancel {name}`"
            raise BoxctlError(f"job `{name}` runs already, with other work (key `{before['key']}`)", hint=hint)
        if before["state"] in {"running", "done"} and before["key"] == spec.key:
            return {"job": view(layout, name), "changed": False}
        lifecycle.boot(layout)
        place.mkdir(mode=0o700, exist_ok=True)
        files.write_json(place / "job.json", spec._asdict())
        _progress_file(place, spec._asdict()).unlink(missing_ok=True)
        me = os.getpid()
        # Until the wrapper has its own state this process stands for it: so nobody sees a job that is lost at birth.
        stand_in = {
            "key": spec.key,
            "state": "running",
            "pid": me,
            "ticks": processes.ticks(me),
            "started": time.time(),
        }
        kept: dict[str, Any] = {key: before[key] for key in ("child", "child_ticks") if key in before}
        files.write_json(place / "state.json", {**kept, **stand_in})
        _launch(layout, name)
    return {"job": view(layout, name), "changed": True}


def wait(layout: Layout, name: str, *, timeout: float) -> dict[str, Any]:
    """Wait until a job has ended well; `{"job", "timed_out"}`. Raises `BoxctlError` when it did not in `timeout` s."""
    known(layout, name)
    deadline = time.monotonic() + timeout
    pause = 0.05
    while (state := read(layout, name)["state"]) == "running" and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(0.5, pause * 1.5)
    job = view(layout, name)
    if state == "done":
        return {"job": job, "timed_out": False}
    more = {"job": job, "timed_out": state == "running"}
    if state == "running":
        raise BoxctlError(f"job `{name}` still runs after {timeout:g} s", hint="it goes on; wait again", more=more)
    words = f"job `{name}` {_how(job)}" + (f": {job['last_error']}" if job["last_error"] else "")
    raise BoxctlError(words, hint=f"`boxctl logs {name}` shows all of it", more=more)


def cancel(layout: Layout, name: str) -> dict[str, Any]:
    """End a running job with everything that it started; `{"job", "changed"}`. Returns when it is gone."""
    known(layout, name)
    state = read(layout, name)
    if state["state"] != "running":
        return {"job": view(layout, name), "changed": False}
    spec = files.read_json(layout.job(name) / "job.json") or {}
    processes.send(int(state["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + float(spec.get("stop_seconds", 10)) + 15
    while (now := read(layout, name))["state"] == "running" and now["pid"] == state["pid"]:
        if time.monotonic() > deadline:
            raise BoxctlError(f"job `{name}` does not end", hint=f"`kill -9 {state['pid']}` ends its wrapper")
        time.sleep(0.05)
    return {"job": view(layout, name), "changed": True}


def remove(layout: Layout, name: str) -> dict[str, Any]:
    """Cancel a job when it runs, and forget it; its log stays."""
    import shutil

    place = layout.job(name)
    conf = programs.conf_path(layout, f"job-{name}")
    if not place.exists() and not conf.exists():
        return {"changed": False}
    if (place / "job.json").exists():
        cancel(layout, name)
    with files.lock(layout.supervisor / f"job-{name}.lock"):
        conf.unlink(missing_ok=True)
        with suppress(NotRunningError):  # It will not find the file when it starts.
            supervisord = Supervisord(layout)
            supervisord.stop(f"job-{name}", seconds=60)
            supervisord.drop(f"job-{name}")
        if place.exists():
            shutil.rmtree(place)
    return {"changed": True}


def names(layout: Layout) -> list[str]:
    """Every job."""
    return sorted(path.parent.name for path in layout.jobs.glob("*/job.json"))


def known(layout: Layout, name: str) -> None:
    """Raise `BoxctlError` when there is no such job."""
    if not (layout.job(name) / "job.json").exists():
        raise BoxctlError(f"there is no job `{name}`", hint=f"jobs of this box: {', '.join(names(layout)) or 'none'}")


def read(layout: Layout, name: str) -> dict[str, Any]:
    """A job's `state.json`, with the state `lost` when nobody runs it any more, and `none` when it never ran."""
    path = layout.job(name) / "state.json"
    state = files.read_json(path)
    if state is None:
        return {"state": "none", "key": None}
    if state["state"] == "running" and not processes.alive(state.get("pid"), state.get("ticks")):
        # It may have ended, and said so, between our two looks.
        state = files.read_json(path) or state
        if state["state"] == "running" and not processes.alive(state.get("pid"), state.get("ticks")):
            state["state"] = "lost"
    return state


def view(layout: Layout, name: str) -> dict[str, Any]:
    """A job as `boxctl status` shows it."""
    place = layout.job(name)
    spec = files.read_json(place / "job.json") or {}
    state = read(layout, name)
    word = "lost" if state["state"] == "none" else state["state"]
    trouble = logs.last_error(layout.log(name)) if word == "failed" else _LOST if word == "lost" else None
    return {
        "name": name,
        "description": spec.get("description", ""),
        "key": spec.get("key"),
        "state": word,
        "pid": (state.get("child") or state.get("pid")) if word == "running" else None,
        "started": _moment(state.get("started")),
        "ended": _moment(state.get("ended")),
        "exit_code": state.get("exit_code"),
        "progress": progress(layout, name),
        "last_error": trouble,
        "log": str(layout.log(name)),
    }


def progress(layout: Layout, name: str) -> dict[str, Any] | None:
    """The last thing that a job reported; for one that reports nothing the last line of its log."""
    place = layout.job(name)
    spec = files.read_json(place / "job.json") or {}
    # The last line may be half written: then the one before it counts.
    for line in reversed(files.tail(_progress_file(place, spec), 8192).splitlines()):
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            return data
    words = logs.last_line(layout.log(name))
    return {"label": words} if words else None


def _launch(layout: Layout, name: str) -> None:
    program = f"job-{name}"
    supervisord = Supervisord(layout)
    seen = supervisord.process(program)
    if programs.place(layout, program, programs.job_conf(layout, name)) and seen is not None:
        supervisord.stop(program, seconds=60)
        supervisord.drop(program)
        seen = None
    if seen is None:
        supervisord.adopt(program)
    deadline = time.monotonic() + _START_TIMEOUT
    started = False
    while (files.read_json(layout.job(name) / "state.json") or {}).get("pid") == os.getpid():
        # The wrapper of the run before writes its last word a moment before it is gone.
        started = started or supervisord.start(program)
        if time.monotonic() > deadline:
            words = files.tail(layout.job(name) / "wrapper.log", 500).decode("utf-8", "replace").strip()
            raise BoxctlError(f"job `{name}` did not start: {words or 'no message'}", hint="`boxctl logs supervisord`")
        time.sleep(0.02)


def _progress_file(place: Path, spec: dict[str, Any]) -> Path:
    return Path(spec.get("progress_file") or place / "progress.jsonl")


def _how(job: dict[str, Any]) -> str:
    if job["state"] == "failed":
        return f"failed with exit code {job['exit_code']}"
    return "was cancelled" if job["state"] == "cancelled" else "was lost"


def _moment(seconds: float | None) -> str | None:
    return files.utc(seconds) if seconds else None
