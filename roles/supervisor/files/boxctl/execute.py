"""`python -m boxctl.execute <service.json>`: what supervisord runs for a service.

It ends what an earlier start left behind, runs the program and stays as its parent: so exit codes are known, and
whatever the program started ends with it (vLLM's engine and worker processes hold the GPU's memory).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from boxctl import files, logs, processes, states
from boxctl.child import Child, die_with_parent

_KEPT_EXITS = 20


def main(arguments: list[str]) -> int:
    """Run the service until it ends; its exit code."""
    # Killed supervisord: all ends at once, and the next one starts it again.
    die_with_parent(signal.SIGUSR1)
    path = Path(arguments[0])
    spec = files.read_json(path)
    name, root = path.parent.name, str(path.parents[2])
    if spec is None:
        _say(f"{logs.mark(name)}boxctl: error: `{path}` cannot be read\n")
        return 78
    history = files.read_json(path.parent / "history.json") or {}
    # Before the mark: while it waits, the last start's words are still those of the program.
    if wait := states.pause(history.get("exits", []), spec["start_seconds"], time.time()):
        _say(f"boxctl: the next start of `{name}` is in {wait:g} s\n")
        time.sleep(wait)  # TERM ends it.
    _say(logs.mark(name))
    _end_survivors(name, root, history)
    try:
        # Time to stop is the program's own; what is left after it is killed before supervisord kills us.
        child = Child(
            spec["argv"], env=environment(spec, root, service=name), cwd=spec.get("cwd"), grace=spec["stop_seconds"]
        )
    except OSError as error:
        _say(f"boxctl: error: cannot run `{spec['argv'][0]}`: {error.strerror}: `{error.filename}`\n")
        _remember(path.parent, history, {"exits": _exits(history, 127, 0.0)})
        return 127
    started = time.time()
    me = os.getpid()
    history["restarts"] = history.get("restarts", -1) + 1
    _remember(path.parent, history, {"pid": me, "ticks": processes.ticks(me), "child": child.pid, "started": started})
    ending = child.wait()
    if not ending.asked:
        _say(f"boxctl: `{name}` ended with exit code {ending.exit_code}\n")
        _remember(path.parent, history, {"exits": _exits(history, ending.exit_code, time.time() - started)})
    return ending.exit_code


def environment(spec: dict[str, Any], root: str, **marks: str) -> dict[str, str]:
    """Environment of a program: supervisord's without what is ours, the spec's, and marks that tell whose it is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUPERVISOR_", "PYTHONPATH"))}
    return {
        **kept,
        **spec["env"],
        "GPUBOX_ROOT": root,
        **{f"GPUBOX_{key.upper()}": value for key, value in marks.items()},
    }


def _end_survivors(name: str, root: str, history: dict[str, Any]) -> None:
    marks = (f"GPUBOX_ROOT={root}", f"GPUBOX_SERVICE={name}")
    group, ticks = int(history.get("pid") or 0), int(history.get("ticks") or 0)

    def left() -> list[int]:
        members = processes.group_left(group, ticks) if group else []
        return [pid for pid in {*members, *processes.marked(marks)} if pid != os.getpid()]

    if ended := processes.end(left, grace=2.0):
        _say(f"boxctl: ended {len(ended)} processes that an earlier start had left behind\n")


def _exits(history: dict[str, Any], exit_code: int, seconds: float) -> list[dict[str, Any]]:
    exits = [*history.get("exits", []), {"at": time.time(), "exit_code": exit_code, "seconds": round(seconds, 2)}]
    return exits[-_KEPT_EXITS:]


def _remember(place: Path, history: dict[str, Any], news: dict[str, Any]) -> None:
    history.update(news)
    try:
        files.write_json(place / "history.json", history)
    except OSError as error:  # A full disk shall not take a working service with it.
        _say(f"boxctl: error: `{place}/history.json`: {error.strerror}\n")


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
