"""Provider `local`: a box on this machine, without privileges, for a first try and for tests."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpubox import paths
from gpubox.errors import Failed, Refused, Unreachable, UsageError
from gpubox.providers.base import Alive, Rented, Whereabouts
from gpubox.providers.local_box import disk, launch, processes
from gpubox.providers.local_box.layout import BoxDir, Identity, Running
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.providers.base import Offer, Order, Wish

HOST = "127.0.0.1"
_LOCK_S = 180.0  # longer than removing a box of many GiB takes


class LocalProvider:
    """Boxes are directories below `<data dir>/local-boxes`, each with an SSH server on loopback while powered on."""

    name = "local"
    bills = False
    releases = True

    def create(self, order: Order) -> str:
        """Make the box of that name and start it; the box that is already there when there is one.

        Raises `UsageError` for a name that cannot be a directory, `Failed` and `Unreachable` when it does not start.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", order.name):
            raise UsageError(
                f"`{order.name}` cannot be the name of a local box", hint="use letters, digits, `-`, `_` and `.`"
            )
        box = BoxDir(_directory() / order.name)
        self._start(box, order.name)
        return str(box.path)

    def find(self, name: str) -> str | None:
        """The directory of the box; also of one whose making was cut off."""
        path = _directory() / name
        return str(path) if path.is_dir() else None

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Where the box listens now. Raises `Unreachable` when it is powered off or gone."""
        box = _box(record)
        running = _server(box)
        identity = box.identity()
        if running is None or identity is None:
            raise Unreachable(
                f"the local box `{record.name}` is not running", where=str(box.path), hint=f"gpubox start {record.name}"
            )
        return _rented(box, identity, running)

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """Where it listens now."""
        box = _box(record)
        running, identity = _server(box), box.identity()
        return Whereabouts(Endpoint(HOST, running.port, identity.user)) if running and identity else None

    def state(self, record: BoxRecord) -> Literal["running", "stopped", "gone"]:
        """`stopped` also after the server was killed: its disk is there and it can be powered on again."""
        box = _box(record)
        if not box.path.exists():
            return "gone"
        return "running" if _server(box) is not None else "stopped"

    def power_on(self, record: BoxRecord) -> None:
        """Start the server, on its old port where that is free. Raises `Failed` when the box is gone."""
        box = _box(record)
        if box.identity() is None:
            raise Failed(
                f"the local box `{record.name}` is gone",
                where=str(box.path),
                hint=f"make it anew: `gpubox up {record.name}`",
            )
        self._start(box, record.name)

    def power_off(self, record: BoxRecord) -> None:
        """End every process of the box and keep its disk. Raises `Failed` when a process does not end."""
        box = _box(record)
        with _locked(box):
            processes.end_all(box)

    def release(self, record: BoxRecord) -> None:
        """End every process of the box and remove its disk. Raises `Failed` when anything is left of it."""
        box = _box(record)
        with _locked(box):
            processes.end_all(box)
            disk.remove(box)

    def alive(self) -> list[Alive]:
        """Every box of this machine and this user's data directory."""
        boxes = sorted(path for path in _directory().iterdir() if path.is_dir() and not path.name.startswith("."))
        return [
            Alive(str(path), path.name, "running" if _server(BoxDir(path)) else "stopped", billing=False)
            for path in boxes
        ]

    def offers(self, wish: Wish) -> list[Offer]:
        """Nothing: this machine is not for rent."""
        return []

    def balance(self) -> None:
        """No account."""

    def check(self) -> list[Finding]:
        """Nothing to judge: no account."""
        return []

    def _start(self, box: BoxDir, name: str) -> None:
        with _locked(box):
            if _server(box) is None or box.identity() is None:
                disk.prepare(box, name, os.environ)
                launch.start(box)


def _rented(box: BoxDir, identity: Identity, running: Running) -> Rented:
    return Rented(
        ref=str(box.path),
        endpoint=Endpoint(HOST, running.port, identity.user),
        password=identity.password,
        host_key=running.host_key,
    )


def _directory() -> Path:
    path = paths.data_dir() / "local-boxes"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def _box(record: BoxRecord) -> BoxDir:
    """The directory of a box in the ledger; refuses one that is not ours to remove."""
    path = Path(record.provider_ref) if record.provider_ref else _directory() / (record.order or record.name)
    if path.parent.name != "local-boxes" or path.is_symlink():
        raise Refused(
            f"`{path}` is not the directory of a local box",
            where=record.name,
            hint="local boxes lie in `local-boxes` of gpubox's data directory",
        )
    return BoxDir(path)


def _server(box: BoxDir) -> Running | None:
    """What runs, by pid, creation time and marker; None when the box is powered off or its server was killed."""
    running = box.running()
    if running is not None and processes.is_server(box, running.pid, running.created):
        return running
    return None


@contextmanager
def _locked(box: BoxDir) -> Iterator[None]:
    """One at a time per box: two creates at once give one box."""
    import filelock

    locks = box.path.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(locks / box.path.name, timeout=_LOCK_S):
            yield
    except filelock.Timeout as error:
        raise Unreachable(
            f"another gpubox has been working on this local box for {_LOCK_S:.0f} s",
            where=str(box.path),
            hint="wait for it to end, then try again",
        ) from error
