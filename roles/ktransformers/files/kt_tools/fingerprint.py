"""What an extension was built for, and whether the environment and the CPU are still those."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .errors import Trouble

if TYPE_CHECKING:
    from pathlib import Path

# In the environment itself: one that was made anew has none, and so nothing that was built for the old one counts.
STAMP = "gpubox-ktransformers.json"
_REBUILD = "on the box: `bin/boxctl job remove build-ktransformers` below the gpubox root, then `gpubox up NAME --full`"


def of_environment(env: Path) -> dict[str, Any]:
    """torch, its CUDA and its exact build, read from its files: importing it would take seconds. Raises `Trouble`.

    The build's commit says more than the version: torch 2.6.0 for CUDA 12.4 and for 12.6 have different C++ ABIs.
    """
    found = next(iter(env.glob("lib/python3.*/site-packages/torch/version.py")), None)
    if found is None:
        raise Trouble(f"there is no torch in `{env}`: the environment was not made, or was made for something else")
    text = found.read_text(encoding="utf-8")
    names = (("torch", "__version__"), ("cuda", "cuda"), ("torch_commit", "git_version"))
    values = {name: re.search(rf"^{word}(?::[^=]+)?\s*=\s*'([^']*)'", text, re.MULTILINE) for name, word in names}
    python = found.parts[found.parts.index("site-packages") - 1].removeprefix("python")
    return {"python": python, **{name: match[1] if match else None for name, match in values.items()}}


def write(env: Path, built: dict[str, Any]) -> None:
    """Leave the stamp in the environment."""
    (env / STAMP).write_text(json.dumps(built, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(env: Path) -> dict[str, Any]:
    """The stamp. Raises `Trouble` when the environment has none."""
    try:
        stamp: dict[str, Any] = json.loads((env / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Trouble(f"nothing says that KTransformers was built into `{env}`: {_REBUILD}") from error
    return stamp


def compare(built: dict[str, Any], now: dict[str, Any], flags: list[str]) -> None:
    """Raises `Trouble` when what was built would not load (another torch) or not run (fewer instructions)."""
    for name, words in (("torch", "torch"), ("cuda", "torch's CUDA"), ("torch_commit", "torch"), ("python", "Python")):
        if built.get(name) != now.get(name):
            raise Trouble(
                f"KTransformers was built for {words} {built.get(name)}, and the environment has {now.get(name)} now: "
                f"it would end in `undefined symbol`; {_REBUILD}"
            )
    missing = sorted(set(built.get("cpu_flags", ())) - set(flags))
    if missing:
        raise Trouble(
            f"KTransformers was built for a CPU with {', '.join(missing)}, and this one has it not: it would end in "
            f"`Illegal instruction`; {_REBUILD}"
        )
