"""A web UI's place, and what `gpubox history export --from` makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from unit.history.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A web UI with two users."""
    made = World(tmp_path / "box")
    yield made
    made.database.close()
