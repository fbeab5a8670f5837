"""Fixtures of whole stories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from box.testbox.wheelhouse import wheelhouse_options

from e2e.cli import Gpubox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox


@pytest.fixture
def gpubox(tmp_path: Path) -> Iterator[Gpubox]:
    """The command line in an empty HOME; what it left running in the background is ended."""
    tool = Gpubox(tmp_path)
    yield tool
    tool("tunnel", "--stop", code=None)


@pytest.fixture
def rented(boxes: BoxFactory) -> TestBox:
    """A box like a rented one that finds its packages in a directory of wheels."""
    binds, find_links = wheelhouse_options()
    return boxes(uv_cache=True, binds=binds, files={"/etc/pip.conf": _pip_conf(find_links)})


def _pip_conf(find_links: str) -> str:
    return f"[global]\nno-index = true\nfind-links = {find_links}\n"
