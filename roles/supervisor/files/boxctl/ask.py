"""Questions to a service's own program: what is started by `python -m PROGRAM run ...` answers other verbs, too."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from boxctl import files
from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from boxctl.layout import Layout

_RUN = "-m"


def ask(layout: Layout, program: str, verb: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """`{"service": name, ...what it answers}`; the name is None when no service here is started by this program.

    It is told the root, its service and `request` as JSON on stdin. Raises `BoxctlError` with its own words.
    """
    for place in sorted(layout.services.glob("*/service.json")):
        spec = files.read_json(place) or {}
        words = [str(word) for word in spec.get("argv", [])]
        if _RUN in words and words[words.index(_RUN) + 1 :][:2] == [program, "run"]:
            told = {**request, "root": str(layout.root), "service": place.parent.name}
            return {"service": place.parent.name, **_answer(spec, words, verb, told, timeout)}
    return {"service": None}


def _answer(spec: dict[str, Any], words: list[str], verb: str, told: dict[str, Any], timeout: float) -> dict[str, Any]:
    argv = [*words[: words.index(_RUN) + 2], verb]
    # Where its modules lie, and nothing of what else the service may know.
    ours = {name: str(value) for name, value in (spec.get("env") or {}).items() if name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            argv,
            input=json.dumps(told),
            env={**os.environ, **ours},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BoxctlError(f"`{words[words.index(_RUN) + 1]} {verb}` did not end within {timeout:g} s") from None
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        raise BoxctlError(said or f"`{verb}` ended with exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
