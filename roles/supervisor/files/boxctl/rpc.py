"""A client of supervisord's XML-RPC interface over its Unix socket.

The `supervisor` package brings one, but importing it costs twice the CPU of a whole `boxctl status`.
"""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client  # the other end is our own supervisord behind a 0700 directory
from typing import TYPE_CHECKING, Any

from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from boxctl.layout import Layout

# Fault codes, from supervisor/xmlrpc.py.
SHUTDOWN_STATE = 6
BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90


class NotRunningError(BoxctlError):
    """supervisord does not answer."""


class Supervisord:
    """supervisord of one root. Raises `NotRunningError` when it does not answer, `BoxctlError` when it refuses."""

    def __init__(self, layout: Layout, *, timeout: float = 10.0) -> None:
        self._path = str(layout.socket)
        self._timeout = timeout

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord knows of each program, by program name (`service-<name>`, `job-<name>`)."""
        answer: Any = self._call("supervisor.getAllProcessInfo")
        return {info["name"]: info for info in answer}

    def process(self, program: str) -> dict[str, Any] | None:
        """What supervisord knows of one program; None when it does not know it."""
        answer: Any = self._call("supervisor.getProcessInfo", program, accept=BAD_NAME)
        return answer if isinstance(answer, dict) else None

    def pid(self) -> int:
        """Its own process."""
        answer: Any = self._call("supervisor.getPID")
        return int(answer)

    def adopt(self, program: str) -> None:
        """Read the configuration again and take up `program`, which it does not know yet; autostart starts it."""
        self._call("supervisor.reloadConfig")
        self._call("supervisor.addProcessGroup", program, accept=ALREADY_ADDED)

    def drop(self, program: str) -> None:
        """Forget a stopped program, whose file is gone or has changed."""
        self._call("supervisor.removeProcessGroup", program, accept=BAD_NAME)

    def start(self, program: str) -> bool:
        """Start a program without waiting for it; False when it runs already."""
        return self._call("supervisor.startProcess", program, False, accept=ALREADY_STARTED) is not None

    def stop(self, program: str, *, seconds: float) -> bool:
        """Stop a program and wait for its end, at most `seconds`; False when it did not run."""
        self._timeout = seconds
        answer = self._call("supervisor.stopProcess", program, True, accept=(NOT_RUNNING, BAD_NAME))
        return answer is not None

    def shutdown(self) -> None:
        """Have it end every program and then itself; returns at once."""
        self._call("supervisor.shutdown", accept=SHUTDOWN_STATE)

    def _call(self, method: str, *arguments: str | bool, accept: int | tuple[int, ...] = ()) -> object:
        accepted = (accept,) if isinstance(accept, int) else accept
        connection = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self._path, self._timeout))
        try:
            with connection:
                return getattr(connection, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in accepted:
                return None
            words = f"supervisord refuses `{method}{arguments}`: {fault.faultString}"
            raise BoxctlError(words, hint="`boxctl logs supervisord` says more") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise NotRunningError(
                f"supervisord does not answer: {error}", hint="`boxctl boot` starts it; `boxctl logs supervisord`"
            ) from error


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._seconds = timeout

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _Connection(self._path, self._seconds)
