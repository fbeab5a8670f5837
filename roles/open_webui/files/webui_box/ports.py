"""Who listens on a port of this machine. Without `/proc` (a Mac) nobody can be named."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from webui_box.errors import Trouble

_LISTENING = "0A"
_PROC = Path("/proc")


def need_free(port: int) -> None:
    """Raise `Trouble` unless 127.0.0.1 has this port to give.

    open-webui itself finds out only after it has migrated its database, and asking for its health would then ask
    whoever has the port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        # Connections that an earlier run left behind are no reason to wait.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            owners = sorted(listeners(port))
            who = " by " + ", ".join(f"process {pid} ({_name(pid)})" for pid in owners) if owners else ""
            raise Trouble(
                f"port {port} of 127.0.0.1 is taken{who}; end that, or set `open_webui_port` to another port"
            ) from None


def listeners(port: int) -> set[int]:
    """The processes that listen on this port, as far as we may look into them."""
    inodes = _inodes(port)
    found: set[int] = set()
    if not inodes:
        return found
    for process in _PROC.iterdir():
        if process.name.isdigit() and inodes & _sockets(process):
            found.add(int(process.name))
    return found


def descends(pid: int, ancestor: int) -> bool:
    """Whether `pid` is `ancestor` or was started below it."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        # The name stands in parentheses and may hold any character.
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


def _inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _sockets(process: Path) -> set[str]:
    links: set[str] = set()
    with contextlib.suppress(OSError):
        for entry in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(str(entry.readlink()))
    return links


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "gone"
