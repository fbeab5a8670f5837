"""Who is logged in over SSH, from the table of processes, and which terminals are open."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
# Commands of gpubox that only look: a program that asks for the status every minute is nobody at work.
_LOOKS = ("status", "fresh", "guard")


class Row(NamedTuple):
    """One process. `ours`: it has our HOME, which is what tells the processes of a local box from others."""

    pid: int
    parent: int
    name: str
    words: list[str]
    terminal: int
    ours: bool


def count(rows: list[Row], server: str) -> int | None:
    """How many sessions the SSH server has open; None when the table of processes is not a whole one.

    A session is what the server has started for somebody: a shell or a command. A mere tunnel has none. Where no such
    server is to be seen (it is started for each connection, or is outside of this container) every terminal counts.
    """
    if not any(row.pid == 1 for row in rows):
        return None
    servers = {row.pid for row in rows if _serves(row, server)}
    if not servers:
        return len({row.terminal for row in rows if row.terminal >= 0}) if "." not in server else None
    children: dict[int, list[Row]] = {}
    for row in rows:
        children.setdefault(row.parent, []).append(row)
    tops = [row for row in rows if row.parent in servers and row.pid not in servers]
    files = sum(any("@internal-sftp" in word for word in row.words) for row in rows if row.pid in servers)
    return files + sum(not all(_looks(row) for row in _leaves(top, children)) for top in tops)


def terminals(rows: list[Row], server: str) -> list[int]:
    """Numbers of the terminals (`/dev/pts/N`) in which somebody should be told; those of the sessions."""
    inside = {row.pid for row in rows if _serves(row, server)}
    found: set[int] = set()
    before = -1
    while before != len(inside):
        before = len(inside)
        for row in rows:
            if row.parent in inside:
                inside.add(row.pid)
                found.add(row.terminal)
    return sorted(number for number in found if number >= 0)


def table() -> list[Row]:
    """Every process that can be seen. Raises `OSError` where there is no /proc."""
    home = os.environ.get("HOME", "")
    rows = (_row(int(name), home) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - names, not paths
    return [row for row in rows if row is not None]


def _row(pid: int, home: str) -> Row | None:
    place = _PROC / str(pid)
    try:
        stat = (place / "stat").read_text(encoding="utf-8", errors="replace")
        words = (place / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    try:
        ours = f"HOME={home}".encode() in (place / "environ").read_bytes().split(b"\0")
    except OSError:
        ours = False
    return Row(pid, int(fields[1]), name, words, _terminal(int(fields[4])), ours)


def _terminal(device: int) -> int:
    """The number of a pseudo-terminal by its device (majors 136 to 143, 256 each); -1 for none and for others."""
    major, minor = os.major(device & 0xFFFFFFFF), os.minor(device & 0xFFFFFFFF)
    return (major - 136) * 256 + minor if 136 <= major <= 143 else -1


def _serves(row: Row, server: str) -> bool:
    if "." in server:  # a Python module: the server of a local box, beside which this machine has others
        return row.ours and server in row.words
    return row.name.startswith((server, f"{server}-session"))


def _leaves(top: Row, children: dict[int, list[Row]]) -> list[Row]:
    below = children.get(top.pid, [])
    return [leaf for child in below for leaf in _leaves(child, children)] if below else [top]


def _looks(row: Row) -> bool:
    words = row.words
    return any(a == "boxctl" and b in _LOOKS for a, b in itertools.pairwise(words)) or (
        len(words) > 2 and words[-2].endswith("/bin/boxctl") and words[-1] in _LOOKS
    )
