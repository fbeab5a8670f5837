"""`boxctl follow RUN --offset N`: a converge run as JSON lines, from a byte of its events on, until it ends."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from boxctl import converge, files, jobs
from boxctl.layout import CONVERGE
from boxctl.pipes import listened_to

if TYPE_CHECKING:
    from boxctl.layout import Layout

_TICK = 0.25
_HEARTBEAT = 2.0


def follow(layout: Layout, run: str, *, offset: int) -> None:
    """Write what happens to stdout until the run has ended or nobody listens any more.

    An event's `offset` is where the next one begins: what to give to a later `follow`. Raises `UsageError` when there
    is no such run.
    """
    converge.state(layout, run)
    events = _Events(layout, run, offset)
    reports = _Reports(layout, run)
    beat = float("-inf")
    while True:
        # The state is read first: all events of a run that has ended are there already.
        state = converge.state(layout, run)
        events.send()
        reports.send()
        if state["state"] != "running":
            break
        if time.monotonic() - beat >= _HEARTBEAT:
            beat = time.monotonic()
            _say({"type": "heartbeat", "t": time.time()})
        sys.stdout.flush()
        if not listened_to(_TICK):
            return
    _say({"type": "end", **{key: state[key] for key in ("state", "exit_code", "error")}})
    sys.stdout.flush()


class _Events:
    def __init__(self, layout: Layout, run: str, offset: int) -> None:
        self._path = layout.run(run) / "events.jsonl"
        self._offset = offset

    def send(self) -> None:
        """Send every whole line that has been added."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    self._send_line(line)
        except FileNotFoundError:
            return

    def _send_line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        _say({"type": "event", "offset": self._offset, "event": event})


class _Reports:
    """Progress of the jobs that run, or have ended, since the run began; each only when it has changed."""

    def __init__(self, layout: Layout, run: str) -> None:
        self._layout = layout
        about = files.read_json(layout.run(run) / "run.json") or {}
        self._since = str(about.get("at", ""))
        self._sent: dict[str, Any] = {}
        self._looked: dict[str, tuple[Any, ...]] = {}

    def send(self) -> None:
        for name in jobs.names(self._layout):
            if name == CONVERGE or not self._moved(name):
                continue
            view = jobs.view(self._layout, name)
            if view["state"] != "running" and (view["ended"] or "") < self._since:
                continue
            report = {**(view["progress"] or {}), **{key: view[key] for key in ("state", "started", "ended")}}
            if self._sent.get(name) != report:
                self._sent[name] = report
                _say({"type": "job", "name": name, "progress": report})

    def _moved(self, name: str) -> bool:
        """Whether a file that a job speaks through has changed since the last look: reading costs more."""
        place = self._layout.job(name)
        spec = files.read_json(place / "job.json") or {}
        paths = (place / "state.json", spec.get("progress_file") or place / "progress.jsonl", self._layout.log(name))
        look = tuple(_stamp(str(path)) for path in paths)
        moved = self._looked.get(name) != look
        self._looked[name] = look
        # A lost job leaves no trace of its end in a file.
        return moved or self._sent.get(name, {}).get("state") == "running"


def _stamp(path: str) -> tuple[int, int] | None:
    import os

    try:
        info = os.stat(path)  # noqa: PTH116 - four times a second
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
