"""The role's own programs, and the simulated Ollama as a program of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/ollama/files"
sys.path.insert(0, str(FILES))
PROGRAM = Path(__file__).resolve().parents[2] / "sim/ollama/program.py"


@dataclass
class Sim:
    """A place with the program, its plan and a store. Sizes in bytes."""

    place: Path
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def program(self) -> Path:
        return self.place / "bin/ollama"

    @property
    def env(self) -> dict[str, str]:
        store = str(self.place / "models")
        return {"HOME": str(self.place), "OLLAMA_MODELS": store, "OLLAMA_SIM": str(self.path), "OLLAMA_NOPRUNE": "1"}

    @property
    def path(self) -> Path:
        return self.place / "plan.json"

    def set(self, **plan: object) -> None:
        self.plan |= plan
        self.path.write_text(json.dumps(self.plan))

    def count(self, what: str) -> int:
        path = Path(f"{self.path}.{what}")
        return path.stat().st_size if path.exists() else 0

    def notes(self) -> list[int]:
        """Bytes that each part is noted to have; the server may be writing one now."""
        found = []
        for path in (self.place / "models/blobs").glob("*-partial-*"):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_text())["Completed"])
        return sorted(found)


@pytest.fixture
def sim(tmp_path: Path) -> Sim:
    place = Sim(tmp_path / "ollama")
    place.program.parent.mkdir(parents=True)
    shutil.copy(PROGRAM, place.program)
    # This Python, and not whichever `env` finds.
    text = place.program.read_text().partition("\n")[2]
    place.program.write_text(f"#!{sys.executable}\n{text}")
    place.program.chmod(0o755)
    place.set(models={"tiny:1": [400_000, 1000], "other": [1000]}, part=1 << 18)
    os.environ.pop("OLLAMA_HOST", None)
    return place
