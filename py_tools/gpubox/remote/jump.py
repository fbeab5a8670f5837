"""A connection through a person's own jump hosts: OpenSSH's `ssh -W`, dressed as a socket."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from gpubox.remote.login import Endpoint


class JumpSocket(socket.socket):
    """One end of a socket pair whose other end is an `ssh -W`; closing it ends that `ssh`.

    A socket pair, not paramiko's ProxyCommand: that one never notices that its command has ended.
    """

    proxy: subprocess.Popen[bytes]
    stderr: IO[bytes]
    closing: threading.Lock  # paramiko closes a socket from its own thread and from the caller's, at the same time
    _said = ""

    def close(self) -> None:
        """Close the socket and end the `ssh` behind it; a second caller waits for the first."""
        super().close()
        with self.closing:
            if self.proxy.poll() is None:
                self.proxy.terminate()
            self.proxy.wait(10)
            if not self.stderr.closed:
                self.stderr.seek(0)
                self._said = self.stderr.read().decode(errors="replace")
                self.stderr.close()

    def last_words(self) -> str:
        """The last line that the `ssh` behind it wrote on stderr, or nothing; closes it."""
        self.close()
        return next((line.strip() for line in reversed(self._said.splitlines()) if line.strip()), "")


def jump(endpoint: Endpoint) -> JumpSocket:
    """Start the way to the endpoint through its jump hosts; what goes wrong shows as the end of the stream."""
    ours, theirs = socket.socketpair()
    sock = JumpSocket(fileno=ours.detach())
    sock.closing = threading.Lock()
    sock.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the socket
    with theirs:
        sock.proxy = subprocess.Popen(
            jump_argv(endpoint),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=sock.stderr,
            start_new_session=True,
        )
    return sock


def jump_argv(endpoint: Endpoint) -> list[str]:
    """The command whose stdin and stdout are a connection to the endpoint through its jump hosts.

    Jump hosts are the person's own: their `~/.ssh/config`, keys and known hosts hold for them, and for them only.
    """
    assert endpoint.proxy_jump is not None
    *before, last = endpoint.proxy_jump.split(",")
    target = f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"
    jumps = ["-J", ",".join(before)] if before else []
    uri = last if last.startswith("ssh://") else f"ssh://{last}"
    return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *jumps, "-W", target, uri]


def jump_command(endpoint: Endpoint) -> str:
    """The same for `ProxyCommand` in an OpenSSH configuration."""
    return shlex.join(jump_argv(endpoint)).replace("%", "%%")
