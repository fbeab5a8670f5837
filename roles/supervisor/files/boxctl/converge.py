"""Converge runs: the playbook of a bundle, run on this box as the job `converge`."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from boxctl import files, jobs, specs
from boxctl.errors import BoxctlError, UsageError
from boxctl.layout import CONVERGE, checked

if TYPE_CHECKING:
    from pathlib import Path

    from boxctl.layout import Layout

_KEPT_RUNS = 10
_STOP_SECONDS = 15


def start(layout: Layout, *, bundle: str, digest: str, playbook: str, variables: str) -> dict[str, Any]:
    """Start a run, or attach to the one under way; `{"run", "attached", "digest"}`, the digest of that run.

    `variables` is a JSON object. Raises `BoxctlError` when the bundle or the playbook is not on the box.
    """
    given = _variables(variables)
    place = layout.bundles / checked(bundle)
    if not (place / "playbooks" / checked(playbook)).is_file():
        raise BoxctlError(f"there is no playbook `{place}/playbooks/{playbook}`", hint="`gpubox up` uploads the bundle")
    with files.lock(layout.supervisor / "converge.lock"):
        if jobs.read(layout, CONVERGE)["state"] == "running":
            run = str(jobs.read(layout, CONVERGE)["key"])
            return {"run": run, "attached": True, "digest": _about(layout, run).get("digest")}
        run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
        directory = layout.run(run)
        directory.mkdir(mode=0o700)
        about = {"run": run, "bundle": bundle, "digest": digest, "playbook": playbook, "at": files.utc(time.time())}
        files.write_json(directory / "run.json", about)
        ours = {"gpubox_root": str(layout.root), "ansible_python_interpreter": str(layout.python)}
        files.write_json(directory / "vars.json", {**given, **ours})
        layout.converged.unlink(missing_ok=True)
        _forget_old(layout, run)
        jobs.start(layout, CONVERGE, _job(layout, directory, place))
    return {"run": run, "attached": False, "digest": digest}


def view(layout: Layout) -> dict[str, Any] | None:
    """The last run as `boxctl status` shows it; None when there never was one."""
    runs = _runs(layout)
    return state(layout, runs[-1]) if runs else None


def state(layout: Layout, run: str) -> dict[str, Any]:
    """One run: `id`, `state` (running, done, failed, lost), `exit_code`, `error`, and what it runs."""
    about = _about(layout, run)
    if not about:
        raise UsageError(f"there is no run `{run}`", hint=f"the last ones: {', '.join(_runs(layout)[-3:]) or 'none'}")
    job = jobs.read(layout, CONVERGE)
    if job["key"] == run:
        word, code, ended = job["state"], job.get("exit_code"), job.get("ended")
    else:
        result = files.read_json(layout.run(run) / "result.json") or {"exit_code": None, "ended": None}
        code, ended = result["exit_code"], result["ended"]
        word = "lost" if code is None else "failed" if code else "done"
    error = _error(layout, run, word) if word not in {"running", "done"} else None
    return {
        "id": run,
        "run": run,
        "state": "failed" if word == "cancelled" else word,
        "digest": about.get("digest"),
        "bundle": about.get("bundle"),
        "playbook": about.get("playbook"),
        "started": about.get("at"),
        "ended": files.utc(ended) if ended else None,
        "exit_code": code,
        "error": error,
    }


def digest(layout: Layout) -> str | None:
    """The digest that the box has been converged to; None while a run is under way or when the last one failed."""
    return (files.read_json(layout.converged) or {}).get("digest")


def _error(layout: Layout, run: str, word: str) -> str:
    if word == "cancelled":
        return "the converge was cancelled"
    for line in reversed(files.tail(layout.run(run) / "events.jsonl", 262144).splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "result" and event.get("status") in _BAD:
            return str(event.get("msg") or event.get("stderr") or "a task failed without a word")
    if word == "lost":
        return str(jobs.view(layout, CONVERGE)["last_error"] or "the converge was cut off")
    from boxctl import logs

    return logs.last_error(layout.log(CONVERGE)) or "the playbook ended before its first task"


_BAD = {"failed", "unreachable"}


def _job(layout: Layout, directory: Path, bundle: Path) -> specs.Job:
    argv = [str(layout.python), "-s", "-P", "-m", "boxctl.playbook", str(directory)]
    plugins = bundle / "py_tools" / "gpubox" / "ansible_plugins"
    ansible = layout.root / "cache" / "ansible"
    binaries = layout.python.parent
    env = {
        "ANSIBLE_CONFIG": str(bundle / "ansible.cfg"),
        "ANSIBLE_LIBRARY": str(plugins / "modules"),
        "ANSIBLE_MODULE_UTILS": str(plugins / "module_utils"),
        "ANSIBLE_ACTION_PLUGINS": str(plugins / "action"),
        "ANSIBLE_CALLBACK_PLUGINS": str(plugins / "callback"),
        "ANSIBLE_ROLES_PATH": str(bundle / "roles"),
        "ANSIBLE_CALLBACKS_ENABLED": "gpubox_events",
        "ANSIBLE_HOME": str(ansible),
        "ANSIBLE_LOCAL_TEMP": str(ansible / "tmp"),
        "ANSIBLE_REMOTE_TMP": str(ansible / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "GPUBOX_EVENTS": str(directory / "events.jsonl"),
        "PYTHONPATH": f"{bundle / 'py_tools'}:{layout.root / 'lib'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{binaries}:{os.environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        # Ansible refuses a locale that is not UTF-8, which a bare box has.
        "LC_ALL": "C.UTF-8",
    }
    return specs.Job(
        key=directory.name,
        argv=argv,
        env=env,
        cwd=str(bundle),
        description="converge of this box",
        stop_seconds=_STOP_SECONDS,
    )


def _variables(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError as error:
        raise UsageError(f"the variables on stdin are no JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError("the variables on stdin are no JSON object")
    return data


def _about(layout: Layout, run: str) -> dict[str, Any]:
    return files.read_json(layout.run(run) / "run.json") or {}


def _runs(layout: Layout) -> list[str]:
    return sorted(path.parent.name for path in layout.converge.glob("*/run.json"))


def _forget_old(layout: Layout, current: str) -> None:
    for run in _runs(layout)[:-_KEPT_RUNS]:
        if run != current:
            shutil.rmtree(layout.run(run))
