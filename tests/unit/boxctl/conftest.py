"""Roots to test on: one for the whole session, and others of a test's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import FILES, Root, bearing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# `boxctl` is no part of the package `gpubox`: on a box it lies in <root>/lib.
sys.path.insert(0, str(FILES))


@pytest.fixture(scope="session")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    root = Root(tmp_path_factory.mktemp("box") / "gpubox")
    root.boxctl("boot")
    yield root
    root.boxctl("shutdown")
    assert bearing(f"GPUBOX_ROOT={root.path}") == []


@pytest.fixture
def root(_root: Root) -> Iterator[Root]:
    """The session's root, up; what a test leaves in it is removed."""
    _root.boxctl("boot")
    yield _root
    status = _root.boxctl("status")
    for service in status["services"]:
        _root.boxctl("service", "remove", service["name"])
    for job in status["jobs"]:
        _root.boxctl("job", "remove", job["name"])


@pytest.fixture
def own_root(tmp_path: Path) -> Iterator[Root]:
    """A root of the test's own, not booted; shut down after it."""
    root = Root(tmp_path / "gpubox")
    yield root
    root.boxctl("shutdown")
    assert bearing(f"GPUBOX_ROOT={root.path}") == []


@pytest.fixture
def spec() -> Callable[..., dict[str, Any]]:
    """Makes the spec of a service or job that is a shell script."""

    def make(script: str, **more: object) -> dict[str, Any]:
        return {"argv": ["/bin/sh", "-c", script], **more}

    return make
