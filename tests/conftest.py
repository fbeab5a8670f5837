"""Fixtures for all tests: own gpubox directories, test boxes, and no network for unit tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import pytest

from box.testbox import BoxFactory, NoBoxes, wheelhouse
from box.testbox.isolation import isolation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import TestBox
    from box.testbox.options import Wishes

_HERE = Path(__file__).resolve().parent


# Of a person who runs the tests: with any of them a test could ask, or change, a real account.
_KEYS = (
    "AUTODL_TOKEN", "COMPSHARE_PUBLIC_KEY", "COMPSHARE_PRIVATE_KEY",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip


def pytest_configure() -> None:
    """Takes the keys of accounts away, before anything else."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Whatever a shell starts in the background ignores Ctrl-C, and so would all that these tests start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for key in _KEYS:
        os.environ.pop(key, None)
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


# Whole stories take minutes: where several workers share the tests, whoever gets one last would work alone.
_FIRST = ("e2e", "keeping", "box")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a box, and keeps unit tests from reaching anything but this machine."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: item.path.relative_to(_HERE).parts[0] not in _FIRST)
    for item in items:
        if {"box", "boxes", "module_boxes"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.box)
        if item.path.is_relative_to(_HERE / "unit"):
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "::1", "localhost"]))


@pytest.fixture(autouse=True)
def gpubox_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `$GPUBOX_HOME` (and `$GPUBOX_CACHE` beside it), so that no test sees or changes a person's boxes."""
    home = tmp_path / "gpubox-home"
    monkeypatch.setenv("GPUBOX_HOME", str(home))
    monkeypatch.setenv("GPUBOX_CACHE", str(tmp_path / "gpubox-cache"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("SSH_ASKPASS", raising=False)
    return home


@pytest.fixture
def boxes() -> Iterator[BoxFactory]:
    """Makes test boxes: `boxes(data_size=64 << 20)`. Skips where none can be made; `GPUBOX_REQUIRE_BOXES=1`: fails."""
    yield from _boxes()


@pytest.fixture(scope="module")
def module_boxes() -> Iterator[BoxFactory]:
    """The same for boxes that the tests of a module share."""
    yield from _boxes()


@pytest.fixture
def box(boxes: BoxFactory) -> TestBox:
    """One test box with a data disk of 512 MiB."""
    return boxes(data_size=512 << 20)


@pytest.fixture(scope="session")
def offline() -> Callable[..., Wishes]:
    """`boxes(**offline("controller", "vllm"))`: a box without a network that takes these packages from wheels.

    Skips, or fails where boxes are required, when the wheels cannot be had.
    """

    def options(*names: str) -> Wishes:
        try:
            return wheelhouse.offline(*names)
        except (NoBoxes, wheelhouse.NoWheels) as reason:
            no_boxes(reason)
            raise

    return options


def no_boxes(reason: Exception) -> None:
    """Skips the test, or fails it where boxes are required."""
    if os.environ.get("GPUBOX_REQUIRE_BOXES"):
        pytest.fail(f"test boxes are required here (GPUBOX_REQUIRE_BOXES): {reason}", pytrace=False)
    pytest.skip(str(reason))


def _boxes() -> Iterator[BoxFactory]:
    try:
        isolation()
    except NoBoxes as reason:
        no_boxes(reason)
    with _Factory() as factory:
        yield factory


class _Factory(BoxFactory):
    """Also turns a base that cannot be made (no mirror, no mmdebstrap) into a skip."""

    def __call__(self, **wishes: Unpack[Wishes]) -> TestBox:
        try:
            return super().__call__(**wishes)
        except NoBoxes as reason:
            no_boxes(reason)
            raise
