"""Whether an SSH server answers: providers say that a box runs before it can be logged in to."""

from __future__ import annotations

import socket


def greets(host: str, port: int, seconds: float = 8.0) -> bool:
    """Whether an SSH server says its name there. A silent open port is a gateway without a box behind it."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            return connection.makefile("rb").read(4) == b"SSH-"
    except OSError:
        return False
