"""Fixtures of the tests that compile or fetch gigabytes, all with the marker `build`: `make test-build` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from box.testbox.base import cache_root

if TYPE_CHECKING:
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of this directory that forgot its marker would make every `make test` compile for minutes."""
    for item in items:
        if item.nodeid.startswith("tests/build/"):
            item.add_marker(pytest.mark.build)


@pytest.fixture(scope="session")
def kept() -> Path:
    """A directory that outlives the run: what was fetched once is not fetched again."""
    path = cache_root() / "builds"
    path.mkdir(parents=True, exist_ok=True)
    return path
