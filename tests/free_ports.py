"""Ports of this machine for tests that name them: nothing else gets one of these by chance."""

from __future__ import annotations

import random

from gpubox.remote.ports import is_free

# The kernel gives connections and servers that ask for any port one from 32768 on (`ip_local_port_range`).
_RANGE = range(20000, 32000)


def free_port() -> int:
    """A port that is free on 127.0.0.1 and ::1."""
    return free_run(1)


def free_run(count: int) -> int:
    """The first of `count` neighbouring ports that are free on 127.0.0.1 and ::1."""
    while True:
        first = random.choice(_RANGE)
        if all(is_free(port) for port in range(first, first + count)):
            return first
