"""Runs on the box while a model is copied to it; standard library only, sent there as this one file.

It writes down how far the copy is, for the job of the role `model` that waits for it (model_fetch/copied.py). The first
line on stdin is `{"directory", "id"}`, then `held` is said. Each further line is `{"label", "done", "total"}`, the last
one `{"end": "done"}` or `{"end": "failed", "error"}`; without one the copy was cut off. A copy that began later takes
over: what this one says then counts no more.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STATE = ".gpubox-copying.json"


def main() -> None:
    """See the module."""
    spec = json.loads(sys.stdin.readline())
    path, mine = Path(spec["directory"]) / STATE, spec["id"]
    _write(path, {"id": mine, "state": "copying", "label": "looking at what is there"})
    print("held", flush=True)  # noqa: T201
    end = "cut"
    for line in sys.stdin:
        words = json.loads(line)
        if _owner(path) != mine:
            return
        end = words.get("end", "")
        if end == "done":
            path.unlink()
            return
        _write(path, {"id": mine, "state": end or "copying", **words})
        if end:
            return
    if _owner(path) == mine:
        _write(path, {"id": mine, "state": "cut"})


def _write(path: Path, state: dict[str, Any]) -> None:
    """`beat` is of the clock that no one sets."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps({**state, "beat": time.monotonic()}))
    beside.replace(path)


def _owner(path: Path) -> object:
    try:
        return json.loads(path.read_text()).get("id")
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    main()
