"""One question to a box, asked over OpenSSH while this side still reads and hashes what the question is about.

An `ssh` child costs a fifth of the CPU time of a connection of our own (no libraries to import, no cryptography in
Python), and runs beside us. What goes wrong with it is not explained here: the caller asks again by `Host`, which does.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Self

from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from types import TracebackType

    from gpubox.remote.login import Login


class EarlyQuestion:
    """A command that starts at once, and reads the rest of the question from its stdin.

    Leaving the `with` block ends it when it still runs.
    """

    def __init__(self, login: Login, command: str) -> None:
        self._child = subprocess.Popen(
            ssh_argv(login, command, batch=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()

    def answer(self, rest: bytes, *, timeout: float) -> dict[str, Any] | None:
        """The JSON object that the command printed after it got `rest`; None when none came in `timeout` seconds."""
        try:
            said, _ = self._child.communicate(rest, timeout=timeout)
            answer = json.loads(said)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return answer if self._child.returncode == 0 and isinstance(answer, dict) else None
