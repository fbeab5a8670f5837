"""Noticing that a connection is dead although nobody closed it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paramiko import Transport

# Seconds between questions "are you there?" on an idle connection, and without any byte before it counts as dead.
# A dead link is found after 10 to 15 s: paramiko's own keepalive asks, but never looks for an answer.
KEEPALIVE = 5.0
SILENCE = 9.9


def watch_liveness(transport: Transport, *, interval: float = KEEPALIVE, silence: float = SILENCE) -> None:
    """Ask the server for a sign of life every `interval` s; end the connection after `silence` s without any byte."""
    import paramiko
    from paramiko.common import cMSG_GLOBAL_REQUEST

    # Not `set_keepalive`: it asks for no reply; not `global_request`: it would wait for the reply for ever.
    packetizer: Any = transport.packetizer
    read = packetizer.read_message
    heard = time.monotonic()

    def noting() -> object:
        nonlocal heard
        message = read()
        heard = time.monotonic()
        return message

    def ask() -> None:
        if time.monotonic() - heard > silence:
            raise EOFError  # Ends paramiko's reading thread, and with it every channel.
        question = paramiko.Message()
        question.add_byte(cMSG_GLOBAL_REQUEST)
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)  # want reply
        with contextlib.suppress(paramiko.SSHException):
            transport._send_user_message(question)  # type: ignore[attr-defined]

    packetizer.read_message = noting
    packetizer.set_keepalive(interval, ask)
