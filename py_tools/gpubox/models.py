"""What a box file's models are, before anything is rented or fetched: files and sizes, as their hubs list them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from gpubox import paths
from gpubox.converge.variables import models
from gpubox.errors import AuthFailed, Failed, GpuboxError, Unreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile

# A hub's list comes within seconds; the program itself tries three times and says why not.
_TIMEOUT = 300.0
_ERRORS: dict[int, type[GpuboxError]] = {2: UsageError, 4: AuthFailed, 5: Unreachable}


class Forecast(NamedTuple):
    """What of one model will be fetched. `bytes`: all files together; `revision`: the commit, where the hub says it."""

    name: str
    source: str
    files: int
    bytes: int
    revision: str = ""


def forecast(box: BoxFile, environ: Mapping[str, str] = os.environ) -> tuple[Forecast, ...]:
    """What the box file's models come to; empty when it names none of a hub. Asks the hubs from this machine.

    Tokens and endpoints are the hubs' own variables in `environ` (docs/models.md). Raises `UsageError` for a model,
    revision, pattern or quantization that is not there, `AuthFailed`, `Unreachable` and `Failed`.
    """
    specs = models.specs(box, environ)
    if not specs:
        return ()
    program = paths.content() / "roles" / "model" / "files"
    try:
        done = subprocess.run(
            [sys.executable, "-s", "-m", "model_fetch", "plan", "--spec", "-"],
            input=json.dumps(specs),
            env={**environ, "PYTHONPATH": str(program), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable("the model's hub does not answer", hint="try again, or another `model.source`") from None
    if done.returncode != 0:
        raise _error(done.returncode, done.stderr)
    return tuple(
        Forecast(plan["name"], plan["source"], len(plan["files"]), plan["bytes"], plan["revision"])
        for plan in json.loads(done.stdout)
    )


def _error(code: int, said: str) -> GpuboxError:
    message, _, hint = (said.strip().splitlines() or ["the list of the model's files could not be made"])[-1].partition(
        "; "
    )
    return _ERRORS.get(code, Failed)(message, where="`model` of the box file", hint=hint or None)
