"""The guard that goes in with the call that rents, on real boxes that nobody is logged in to."""

from __future__ import annotations

import subprocess
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import BoxFile
from gpubox.providers import Order, first_guard
from gpubox.providers.ec2.order import user_data

if TYPE_CHECKING:
    from box.testbox import TestBox


def _pid(box: TestBox) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid = box.exec(f"cat {first_guard.PID_FILE}").stdout.strip()
        if pid:
            return pid
        time.sleep(0.1)
    raise AssertionError("the first guard did not start")


def test_it_is_one_line_of_posix_shell() -> None:
    line = first_guard.shell_guard(3600)
    subprocess.run(["sh", "-n"], input=line, text=True, check=True)
    assert "\n" not in line


def test_user_data_is_a_script_for_every_boot() -> None:
    ec2 = BoxFile.model_validate({"provider": "ec2", "gpu": {"name": "A10G"}})
    data = user_data(Order("gpubox-a-1", ec2, timedelta(hours=1)), "ubuntu")
    assert data.splitlines()[:2] == ["#cloud-boothook", "#!/bin/sh"]
    assert first_guard.shell_guard(3600) in data
    subprocess.run(["sh", "-n"], input=data, text=True, check=True)


@pytest.mark.parametrize("marker", [None, "0", "rubbish"])
def test_the_box_goes_off_when_the_time_is_up(box: TestBox, marker: str | None) -> None:
    if marker is not None:
        box.write(first_guard.MARKER, marker + "\n")
    started = time.monotonic()
    # As a provider runs it: with next to no environment, and waiting for the end of its output.
    assert box.exec("env -i /bin/sh -c '" + first_guard.shell_guard(1, look=1).replace("'", "'\\''") + "'").stdout == ""
    box.wait_off(60)
    assert time.monotonic() - started >= 1


def test_the_full_guard_keeps_it_on_and_a_dead_one_does_not(box: TestBox) -> None:
    now = int(box.exec("date +%s").stdout)
    box.write(first_guard.MARKER, f"{now + 3600}\n")
    box.exec(first_guard.shell_guard(0, look=1))
    pid = _pid(box)
    # Two looks of the loop: its children have been `sleep` at least twice.
    seen: set[str] = set()
    while len(seen) < 3:
        seen.add(box.exec(f"pgrep -P {pid} sleep").stdout.strip())
        time.sleep(0.2)
    assert box.is_on()
    box.write(first_guard.MARKER, f"{now - 1}\n")
    box.wait_off(60)
