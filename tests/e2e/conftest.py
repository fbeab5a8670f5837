"""Fixtures of whole stories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from e2e.browser import NoBrowser, Window, chromium, window
from e2e.cli import Gpubox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes


class Converged(NamedTuple):
    """A box `mybox` that is up, and the command line that knows it."""

    gpubox: Gpubox
    box: TestBox


# Base and supervisor only: quick, and everything about converging is in it.
PLAIN = "provider: attach\n"


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


@pytest.fixture
def added(gpubox: Gpubox, rented: TestBox) -> TestBox:
    """A box `mybox` that is in the ledger, with a box file."""
    return adopt(gpubox, rented)


@pytest.fixture
def browser() -> Iterator[Window]:
    """A real Chromium. Skips where there is none, or fails where boxes, and so all of the stories, are required."""
    try:
        chromium()
    except NoBrowser as reason:
        if os.environ.get("GPUBOX_REQUIRE_BOXES"):
            pytest.fail(f"a browser is required here (GPUBOX_REQUIRE_BOXES): {reason}", pytrace=False)
        pytest.skip(str(reason))
    with window() as opened:
        yield opened


@pytest.fixture(scope="module")
def converged(
    module_boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Converged]:
    """A box that is up, for tests that leave it so."""
    tool = Gpubox(tmp_path_factory.mktemp("converged"))
    box = adopt(tool, module_boxes(**offline("controller", "small_gpt", "vllm")))
    tool("up", "mybox")
    yield Converged(tool, box)
    tool.end()


def adopt(gpubox: Gpubox, box: TestBox, name: str = "mybox") -> TestBox:
    """Put `box` into the ledger, and write a box file for it."""
    gpubox("add", name, box.ssh_line, "--yes", stdin=f"{box.password}\n")
    gpubox.box_file(name, PLAIN)
    return box
