"""Whether somebody still listens: an SSH session that is gone leaves its commands behind."""

from __future__ import annotations

import os
import select
import sys

_PARENT = os.getppid()


def listened_to(seconds: float) -> bool:
    """Wait `seconds`; False, at once, when stdout has been closed at its other end or our parent is gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    closed = any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(seconds * 1000))
    return not closed and os.getppid() == _PARENT
