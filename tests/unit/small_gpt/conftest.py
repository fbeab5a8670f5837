"""The package that trains the small model, as it lies in its role; and a finished model without any weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from small_gpt.questions import Questions

FILES = Path(__file__).resolve().parents[3] / "roles/small_gpt/files"

# `small_gpt` is no part of the package `gpubox`: on a box it lies in <root>/lib.
sys.path.insert(0, str(FILES))


@pytest.fixture(scope="session")
def questions() -> Questions:
    """The real set."""
    from small_gpt.questions import load

    return load()


@pytest.fixture
def make_model() -> Callable[[Path, str], Path]:
    """Writes what passes for a finished model of a key: files and their record."""

    def make(directory: Path, key: str) -> Path:
        from small_gpt import store

        with store.writing(directory) as partial:
            (partial / "model.safetensors").write_bytes(b"weights " * 100)
            (partial / "config.json").write_text("{}")
            store.write_record(partial, key, {"steps": 1})
        return directory

    return make
