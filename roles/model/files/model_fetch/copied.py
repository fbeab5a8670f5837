"""A model that `gpubox up` copies here, from a directory of its machine or from another box: the job that waits for it.

What is there already stands in `.gpubox-copied.json`; how far a copy is in `.gpubox-copying.json`, which is there from
its beginning to its good end. gpubox writes both (py_tools/gpubox/model_copy).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_fetch import files
from model_fetch.errors import Trouble
from model_fetch.words import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_fetch.progress import Progress
    from model_fetch.spec import Spec

NOTES, STATE = ".gpubox-copied.json", ".gpubox-copying.json"
_LOOK = 0.5
# After a cut that was seen a new connection is made within seconds; after one that was not, nothing is heard.
_CUT, _SILENCE = 20.0, 120.0
_AGAIN = "`gpubox up` goes on with it"


def wait(
    spec: Spec,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the model is there. Raises `Trouble` soon after the copy has failed or was cut off."""
    progress.say(f"waiting for {spec.name}, copied from {spec.id}")
    while (state := files.read_json(Path(spec.directory) / STATE)) is not None:
        _look(spec, state, clock() - float(state.get("beat", 0.0)))
        progress.tell(str(state.get("label") or f"copying {spec.name}"), state.get("done"), state.get("total"))
        sleep(_LOOK)
    for sentence in wrong(spec):
        raise Trouble(sentence)
    whole = sum(int(file["size"]) for file in _notes(spec).values())
    progress.say(f"{spec.name} is there: {size(whole)}, every SHA-256 was compared")
    progress.tell(f"{spec.name} is there", whole, whole)


def ready(spec: Spec) -> bool:
    """Whether it is there whole, and nothing is on its way."""
    return not (Path(spec.directory) / STATE).exists() and not wrong(spec)


def wrong(spec: Spec) -> list[str]:
    """What is not as it was copied, by sizes; empty when nothing is."""
    directory, notes = Path(spec.directory), _notes(spec)
    if not notes:
        return [f"nothing has been copied to `{directory}` from {spec.id}: {_AGAIN}"]
    found = []
    for name, noted in notes.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != noted["size"]:
            found.append(f"`{path}` is not there as it was copied: {_AGAIN}")
    return found


def _look(spec: Spec, state: dict[str, Any], silent: float) -> None:
    if state.get("state") == "failed":
        raise Trouble(f"{spec.name} could not be copied: {state.get('error')}")
    cut = state.get("state") == "cut"
    # A reboot starts the clock anew; whoever copied then is gone.
    if silent < 0 or silent > (_CUT if cut else _SILENCE):
        raise Trouble(f"the copy of {spec.name} from {spec.id} was cut off; what arrived is kept, {_AGAIN}")


def _notes(spec: Spec) -> dict[str, Any]:
    return files.read_json(Path(spec.directory) / NOTES) or {}
