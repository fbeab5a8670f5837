"""`gpubox ssh NAME`: the person's terminal, or one command, on a box."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from gpubox.errors import HostKeyChanged, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.reach import found_again
from gpubox.remote.login import Login
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubox.ledger import BoxRecord

# ssh's own exit code for a connection that did not come about, or broke; a command may end with it, too.
_NO_CONNECTION = 255


def shell(name: str, command: Sequence[str], *, say: Callable[[str], None]) -> int:
    """Give the terminal to ssh until it ends; its exit code. Without `command` it is a shell.

    A rented box that is not where the ledger has it is looked for and tried once more; `say` hears where it is. Raises
    `Unreachable` for one that is off, `Failed` for one that is gone.
    """
    with Ledger() as ledger:
        record = ledger.get(name)
    argv = ssh_argv(Login.of(record), *command)
    if not provider(record.provider).releases:
        os.execvp(argv[0], argv)  # noqa: S606 - nobody knows a better place, so ssh may have this process
    code = _run(argv)
    if code != _NO_CONNECTION or (found := _elsewhere(record, say)) is None:
        return code
    return _run(ssh_argv(Login.of(found), *command))


def _run(argv: list[str]) -> int:
    """The exit code of ssh, as a shell tells it: 128 and the number of the signal that ended it."""
    with subprocess.Popen(argv) as process:
        # Ctrl-C is for what runs on the box; whoever ends us means ssh.
        ours = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            code = process.wait()
        finally:
            for number, before in ours.items():
                signal.signal(number, before)
    return code if code >= 0 else 128 - code


def _elsewhere(record: BoxRecord, say: Callable[[str], None]) -> BoxRecord | None:
    """The box where it is now; None when it is where ssh was: then 255 is what ssh, or the command, had to say."""
    nothing_new = Unreachable("ssh found no way to the box", where=record.name)
    try:
        return found_again(record, nothing_new, say)
    except (Unreachable, HostKeyChanged) as error:
        if error is nothing_new:
            return None
        raise
