"""Fixtures of whole stories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.cli import Gpubox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes


@pytest.fixture
def gpubox(tmp_path: Path) -> Iterator[Gpubox]:
    """The command line in an empty HOME; what it left running in the background is ended."""
    tool = Gpubox(tmp_path)
    yield tool
    tool.end()


@pytest.fixture
def rented(boxes: BoxFactory, offline: Callable[..., Wishes]) -> TestBox:
    """A box like a rented one that finds its packages in a directory of wheels."""
    return boxes(**offline("controller", "small_gpt", "vllm"))
