"""`gpubox_gpu`: what the CUDA driver's library says, and the sentence when it says no."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from gpubox.ansible_plugins.module_utils import gpubox_driver

if TYPE_CHECKING:
    from unit.ansible.conftest import Ansible


class Driver:
    """Answers as libcuda does: a result code, and values by reference."""

    def __init__(self, *names: str, init: int = 0, version: int = 12040) -> None:
        self.names, self.init, self.version = names, init, version

    def cuDriverGetVersion(self, to: object) -> int:  # noqa: N802 - the driver's own names
        put(to, self.version)
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, to: object) -> int:  # noqa: N802
        put(to, len(self.names))
        return 0

    def cuDeviceGet(self, to: object, index: int) -> int:  # noqa: N802
        put(to, index)
        return 0

    def cuDeviceGetName(self, to: ctypes.Array[ctypes.c_char], size: int, device: ctypes.c_int) -> int:  # noqa: N802
        to.value = self.names[device.value].encode()[: size - 1]
        return 0


def put(reference: object, value: int) -> None:
    ctypes.cast(reference, ctypes.POINTER(ctypes.c_int))[0] = value  # type: ignore[arg-type]


def seen(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> tuple[list[str], str | None]:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    return gpubox_driver.look()


def test_names_and_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090 D")
    assert seen(monkeypatch, driver) == (["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090 D"], "12.4")
    assert seen(monkeypatch, Driver(version=0)) == ([], None)


@pytest.mark.parametrize(("code", "says"), [(100, "no device"), (803, "different versions"), (77, "CUDA error 77")])
def test_a_driver_that_refuses(monkeypatch: pytest.MonkeyPatch, code: int, says: str) -> None:
    with pytest.raises(gpubox_driver.NoGpuError, match=says):
        seen(monkeypatch, Driver("NVIDIA A10", init=code))


def test_a_box_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpubox_driver, "LIBRARY", "libcuda-that-is-nowhere.so.1")
    with pytest.raises(gpubox_driver.NoGpuError, match="cannot be loaded"):
        gpubox_driver.look()


def test_the_step_is_refused_by_name(ansible: Ansible) -> None:
    """More GPUs than any machine has, so that it is refused on one that has some."""
    task = {"gpubox_gpu": {"step": "serve the model", "count": 1000}}
    (result,) = ansible.results([task])
    assert result["failed"]
    assert "refused: to serve the model needs a GPU" in result["msg"]
    (checked,) = ansible.results([task], "--check")
    assert not checked.get("failed")
    assert checked["msg"]
