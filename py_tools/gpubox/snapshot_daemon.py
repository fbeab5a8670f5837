"""`python -m gpubox.snapshot_daemon NAME`: fetches snapshots of a box's web UI for as long as its tunnel is open.

One for each box: it holds a lock. It works at low priority, over one connection, and never shows anything: its log is
`snapshots.log` in the box's directory.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from gpubox import paths, snapshots
from gpubox.backup import carry_out
from gpubox.converge.progress import Board, Silent
from gpubox.durations import duration
from gpubox.errors import GpuboxError
from gpubox.history.about import PLACE
from gpubox.ledger import Ledger
from gpubox.places import box_of
from gpubox.remote import tunnel_files
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.backup import Listed

# Below the box's root, where no backup looks: when home had everything last. What runs there makes copies of its own
# when that is long ago.
FETCHED = "cache/open-webui-fetched"
_TICK = 1.0
# The longest wait before a failed fetch is tried again.
_AGAIN = timedelta(minutes=5)
# Not what the person at this machine is waiting for.
_NICE = 10


def main() -> int:
    """Run until the tunnel is closed, the box file wants no snapshots any more, or a signal comes."""
    name = sys.argv[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    lock = FileLock(paths.box_dir(name) / "snapshots.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return 0
    try:
        run(name, wanted=lambda: tunnel_open(name), every=lambda: every_of(name))
    finally:
        lock.release()
    return 0


def run(
    name: str,
    *,
    wanted: Callable[[], bool],
    every: Callable[[], timedelta | None],
    take: Callable[[str], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Take one whenever it is due. Times are of the wall clock: a machine that slept finds one due when it wakes."""
    take = take or fetch
    not_before = now()
    while wanted() and (period := every()) is not None:
        at = now()
        # A clock that was set back must not keep a failed try waiting.
        not_before = min(not_before, at + _AGAIN)
        if at >= not_before and snapshots.due(name, period, at):
            try:
                take(name)
            except (GpuboxError, OSError) as error:
                say(f"{at.isoformat(timespec='seconds')} {error}")
                not_before = at + min(period, _AGAIN)
        pause(_TICK)


def fetch(name: str) -> None:
    """Fetch what has changed. Raises what a backup raises."""
    begun = datetime.now(UTC)
    snapshots.below().mkdir(mode=0o700, exist_ok=True)
    with Ledger() as ledger:
        record = ledger.get(name)
        done = carry_out(
            ledger,
            record,
            board=Board(Silent()),
            to=snapshots.below(),
            search=False,
            connections=1,
            only=of_web_ui,
        )
        new = snapshots.settle(name, done.place, begun)
    with Host(Login.of(record)) as host:
        mark = shlex.quote(f"{record.root}/{FETCHED}")
        host.run(f'mkdir -p "$(dirname {mark})" && touch {mark}')
    words = f"{counted(done.files, 'file')}, {done.fetched} bytes fetched" if new else "nothing has changed"
    say(f"{begun.isoformat(timespec='seconds')} {words}")


def of_web_ui(file: Listed) -> bool:
    """Whether a file of a backup is the web UI's."""
    return file.path.startswith(f"{PLACE}/")


def tunnel_open(name: str) -> bool:
    """Whether the tunnel of this box is held open."""
    state = tunnel_files.read_state(paths.box_dir(name))
    return state is not None and state.daemon.alive()


def every_of(name: str) -> timedelta | None:
    """How often, as the box file has it now; None when it wants none, or the box is gone."""
    try:
        box = box_of(name)
    except GpuboxError:
        return None
    ui = box.web_ui_settings if box is not None else None
    return duration(ui.snapshots.every) if ui is not None and ui.snapshots is not None else None


def say(line: str) -> None:
    """A line of the log."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - its stderr is its log


if __name__ == "__main__":
    sys.exit(main())
