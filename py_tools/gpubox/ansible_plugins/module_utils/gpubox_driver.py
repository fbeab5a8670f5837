"""What a program of the box can use of its GPUs: asked of the CUDA driver's own library, as every engine does."""

from __future__ import annotations

import ctypes

LIBRARY = "libcuda.so.1"
# CUresult of the driver API (cuda.h).
WORDS = {
    3: "it is not initialized",
    100: "it finds no device: the box was started without its GPU, or the container was not given one",
    101: "the device is not valid",
    802: "the devices are not ready yet (on NVSwitch machines the fabric manager has to run)",
    803: "the driver and its library are of different versions; restart the box",
    804: "its forward-compatibility library does not support this card",
    999: "it fails with an unknown error; restart the box, and rent another one if it stays so",
}


class NoGpuError(Exception):
    """Why no program can use a GPU here."""


def look() -> tuple[list[str], str | None]:
    """Names of the GPUs, and the newest CUDA that the driver knows. Raises `NoGpuError`."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoGpuError(f"the driver's library cannot be loaded ({error})") from error
    version = ctypes.c_int(0)
    known = driver.cuDriverGetVersion(ctypes.byref(version)) == 0 and version.value > 0
    _call(driver.cuInit(0))
    count = ctypes.c_int(0)
    _call(driver.cuDeviceGetCount(ctypes.byref(count)))
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
        _call(driver.cuDeviceGet(ctypes.byref(device), index))
        _call(driver.cuDeviceGetName(name, len(name), device))
        names.append(name.value.decode("utf-8", "replace"))
    return names, f"{version.value // 1000}.{version.value % 1000 // 10}" if known else None


def _call(result: int) -> None:
    if result != 0:
        raise NoGpuError(f"the driver says that {WORDS.get(result, f'something is wrong (CUDA error {result})')}")
