"""A running local box, and an OpenSSH client configuration that reaches it with a key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gpubox.providers.local_box import disk, launch, processes
from gpubox.providers.local_box.layout import BoxDir

from .client import SECRET, Client, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """gpubox's directories below a fresh one, and a variable in the caller's environment that must stay outside."""
    directory = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBOX_HOME", str(directory / "data"))
        patch.setenv("GPUBOX_CACHE", str(directory / "cache"))
        patch.setenv("MY_CLOUD_TOKEN", SECRET)
        patch.setenv("https_proxy", "http://proxy.test:3128")
        yield directory


@pytest.fixture(scope="module")
def new_box(home: Path) -> Iterator[Callable[[str], Client]]:
    """Makes and starts boxes; ends and removes them afterwards."""
    made: list[BoxDir] = []

    def make(name: str) -> Client:
        box = BoxDir(home / "data" / "local-boxes" / name)
        made.append(box)
        identity = disk.prepare(box, name, os.environ)
        return connect(box, identity, launch.start(box), home)

    yield make
    for box in made:
        processes.end_all(box, grace=1)
        disk.remove(box)


@pytest.fixture(scope="module")
def client(new_box: Callable[[str], Client]) -> Client:
    """One box for all tests of a module that leave it as it is."""
    return new_box("shared")
