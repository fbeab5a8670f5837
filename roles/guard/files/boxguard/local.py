"""`python -m boxguard.local`: power off a local box from inside, which is to end every process of it.

Such a box is a directory of somebody's machine: the machine stays on.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from boxctl import processes

_MARK = "GPUBOX_LOCAL_BOX"
_GRACE = 5.0


def main() -> int:
    """End all of it, this process last. The exit code when that did not work."""
    home = os.environ.get("HOME", "")
    server = [pid for pid in processes.marked([f"HOME={home}"]) if _is_server(pid)]
    if not server:
        sys.stderr.write(f"`{home}` is not the home of a local box that runs\n")
        return 1
    # The server first: without it nobody can log in, and the box counts as off.
    processes.end(lambda: [pid for pid in server if processes.look(pid) and _is_server(pid)], grace=_GRACE)
    processes.end(lambda: processes.marked([f"HOME={home}"]), grace=_GRACE)
    for pid in _above(home):
        processes.send(pid, signal.SIGKILL)
    time.sleep(_GRACE)  # What started us takes us along.
    return 0


def _is_server(pid: int) -> bool:
    return "gpubox.providers.local_box" in processes.command_words(pid)


def _above(home: str) -> list[int]:
    """What started us, topmost first: the keeper would start supervisord again, and that the rest."""
    line, pid = [], os.getppid()
    while (process := processes.look(pid)) is not None and _bears(pid, f"HOME={home}"):
        line.append(pid)
        pid = process.parent
    return line[::-1]


def _bears(pid: int, mark: str) -> bool:
    from pathlib import Path

    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
