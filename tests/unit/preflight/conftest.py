"""Boxes for the probe, once for every shell that it must run under."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from .fakes import FakeBox

if TYPE_CHECKING:
    from pathlib import Path

SHELLS: dict[str, tuple[str, ...]] = {"dash": ("dash",), "bash": ("bash",), "busybox": ("busybox", "sh")}


@pytest.fixture(params=SHELLS)
def fake_box(request: pytest.FixtureRequest, tmp_path: Path) -> FakeBox:
    """An empty box under each of the shells."""
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed here (apt-get install {shell[0]})")
    return FakeBox(tmp_path / "box", shell)
