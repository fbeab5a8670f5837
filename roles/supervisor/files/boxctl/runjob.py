"""`python -m boxctl.runjob <job directory>`: what supervisord runs for a job.

It owns `state.json`. It needs nobody to read its output, so a job outlives a killed supervisord.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from boxctl import files, logs, processes
from boxctl.child import Child
from boxctl.execute import environment
from boxctl.layout import Layout


def main(arguments: list[str]) -> int:
    """Run the job to its end; its exit code."""
    place = Path(arguments[0])
    layout = Layout(place.parents[1])
    spec = files.read_json(place / "job.json")
    if spec is None:
        sys.stderr.write(f"`{place}/job.json` cannot be read\n")
        return 78
    before = files.read_json(place / "state.json") or {}
    _end_survivors(layout, place.name, before)
    me = os.getpid()
    state: dict[str, Any] = {"key": spec["key"], "state": "running", "pid": me, "ticks": processes.ticks(me)}
    state["started"] = time.time()
    log = logs.Rotating(layout.log(place.name))
    log.write(logs.mark(place.name).encode())
    progress = spec.get("progress_file") or str(place / "progress.jsonl")
    env = {**environment(spec, str(layout.root), job=place.name), "GPUBOX_PROGRESS": progress}
    try:
        child = Child(spec["argv"], env=env, cwd=spec.get("cwd"), grace=spec["stop_seconds"], output=log.write)
    except OSError as error:
        log.write(f"boxctl: error: cannot run `{spec['argv'][0]}`: {error.strerror}: `{error.filename}`\n".encode())
        _write(place, {**state, "state": "failed", "exit_code": 127, "ended": time.time()})
        return 127
    state |= {"child": child.pid, "child_ticks": processes.ticks(child.pid)}
    _write(place, state)
    ending = child.wait()
    word = "cancelled" if ending.asked else "failed" if ending.exit_code else "done"
    _write(place, {**state, "state": word, "exit_code": ending.exit_code, "ended": time.time()})
    return ending.exit_code


def _end_survivors(layout: Layout, name: str, before: dict[str, Any]) -> None:
    """End what a start that was lost has left running."""
    marks = (f"GPUBOX_ROOT={layout.root}", f"GPUBOX_JOB={name}")
    group, ticks = int(before.get("child") or 0), int(before.get("child_ticks") or 0)

    def left() -> list[int]:
        members = processes.group_left(group, ticks) if group else []
        return list({*members, *processes.marked(marks)})

    processes.end(left, grace=5.0)


def _write(place: Path, state: dict[str, Any]) -> None:
    try:
        files.write_json(place / "state.json", state)
    except OSError:
        # No room for a new file: the old one's own block takes it, for the end of a long job must not be lost.
        with (place / "state.json").open("r+", encoding="utf-8") as file:
            file.write(_padded(state))


def _padded(state: dict[str, Any]) -> str:
    import json

    return json.dumps(state).ljust(600) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
