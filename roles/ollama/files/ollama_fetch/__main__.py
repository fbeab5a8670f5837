"""`python -m ollama_fetch fetch|create`: a job of a box. What to do stands as JSON in `$GPUBOX_OLLAMA`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ollama_fetch.create import Wanted, create
from ollama_fetch.errors import FetchError, TryAgainError
from ollama_fetch.progress import Progress
from ollama_fetch.pull import Limits, pull
from ollama_fetch.release import Release, install
from ollama_fetch.server import await_service, serving


def main(words: list[str]) -> int:
    """Do it; the exit code."""
    # An end from outside goes the way of every other: the server is told, and writes down how far it is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted: dict[str, Any] = json.loads(os.environ["GPUBOX_OLLAMA"])
    try:
        {"fetch": fetch, "create": make}[words[0]](wanted, Progress())
    except (FetchError, TryAgainError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def fetch(wanted: dict[str, Any], progress: Progress) -> None:
    """Have the release, and every model that is to be pulled. Raises `FetchError`."""
    limits = Limits(wanted["pull_stall"], wanted["pull_budget"], wanted["pull_checkpoint"])
    release = Release(wanted["version"], wanted["url"], wanted["sha256s"], limits.budget)
    program = install(release, Path(wanted["place"]), progress)
    if not wanted["models"]:
        return
    Path(wanted["env"]["HOME"]).mkdir(parents=True, exist_ok=True)
    with serving(program, wanted["env"]) as api:
        for model in wanted["models"]:
            pull(api, model, limits, progress)


def make(wanted: dict[str, Any], progress: Progress) -> None:
    """Have the model of one's own in the service. Raises `FetchError` and `TryAgainError`."""
    api = await_service(wanted["port"], wanted["start_timeout"])
    store = Path(wanted["env"]["OLLAMA_MODELS"])
    create(
        api,
        Wanted(wanted["name"], Path(wanted["path"]), store, wanted["template"], wanted["parameters"]),
        progress,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
