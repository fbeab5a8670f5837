"""Ports of this machine."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from gpubox.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Collection

# Both: a browser that is sent to `localhost` may take either, and would reach somebody else's program.
_PLACES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def next_free(wanted: int, promised: Collection[int], *, among: int | None = None) -> int:
    """`wanted` when it is free on 127.0.0.1 and ::1 and not promised to somebody, else the next port that is.

    `among`: how many ports, from `wanted` on, may be taken at all. Raises `Failed` when none of them is free.
    """
    end = min(wanted + among, 65536) if among else 65536
    for port in range(wanted, end):
        if port not in promised and is_free(port):
            return port
    if among:
        raise Failed(
            f"every port from {wanted} to {end - 1} of this machine is taken",
            hint="close a program that holds one; `gpubox tunnel --list` shows those of tunnels",
        )
    raise Failed(f"no free port on this machine from {wanted} up", hint="close a program that holds one")


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of 127.0.0.1 or ::1, and we may."""
    return all(_is_free(family, address, port) for family, address in _PLACES)


def _is_free(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            # macOS lets a second socket bind beside one that listens on all addresses, so connecting tells more.
            if probe.connect_ex((address, port)) == 0:
                return False
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections that were closed a moment ago (TIME_WAIT) do not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno in _ABSENT
    return True
