"""What openers of a tunnel and its daemon tell each other: a wish in one file, the state in another, one lock."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from gpubox import paths
from gpubox.remote.login import Endpoint
from gpubox.remote.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

WISH = "tunnel.want.json"
STATE = "tunnel.json"
LOG = "tunnel.log"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One forward: asked for at `wanted_port`, bound at `local_port` of 127.0.0.1, to 127.0.0.1 on the box.

    `among`: how many ports from `wanted_port` on may serve; None for any.
    """

    wanted_port: int
    local_port: int
    remote_port: int
    label: str
    among: int | None = None

    @property
    def option(self) -> str:
        """What stands after `ssh -L`. The bind address is written out: without it a half taken port goes unnoticed."""
        return f"127.0.0.1:{self.local_port}:127.0.0.1:{self.remote_port}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the daemon of a box shall hold open, and for whom: for ever, or as long as one owner lives."""

    name: str
    endpoint: Endpoint
    pinned: str
    forwards: tuple[Wanted, ...]
    alive: tuple[int, int]
    detached: bool
    owners: tuple[Process, ...]

    @property
    def wanted(self) -> bool:
        """Whether anybody still wants it."""
        return self.detached or any(owner.alive() for owner in self.owners)


@dataclass(frozen=True, slots=True)
class State:
    """What the daemon reports. `taken`: a port that another program has, for which nothing leads to the box."""

    daemon: Process
    child: Process | None
    state: str
    since: str
    reconnects: int
    last_error: str | None
    hint: str | None
    kind: str | None
    forwards: tuple[Wanted, ...]
    taken: int | None = None


def lock() -> FileLock:
    """Held while tunnels are opened, changed or ended, by all boxes together: they share the local ports."""
    return FileLock(paths.data_dir() / "tunnels.lock", timeout=60)


def read_wish(directory: Path) -> Wish | None:
    """The wish that lies in a box's directory."""
    if (data := _read(directory / WISH)) is None:
        return None
    return Wish(
        name=data["name"],
        endpoint=Endpoint(**data["endpoint"]),
        pinned=data["pinned"],
        forwards=tuple(Wanted(**item) for item in data["forwards"]),
        alive=(data["alive"][0], data["alive"][1]),
        detached=data["detached"],
        owners=tuple(Process(**item) for item in data["owners"]),
    )


def read_state(directory: Path) -> State | None:
    """The state that the daemon wrote last; it may be dead by now."""
    if (data := _read(directory / STATE)) is None:
        return None
    child = data.pop("child")
    return State(
        daemon=Process(**data.pop("daemon")),
        child=Process(**child) if child else None,
        forwards=tuple(Wanted(**item) for item in data.pop("forwards")),
        **data,
    )


def write(path: Path, content: Wish | State) -> None:
    """Write one of the two files at once and whole, 0600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(content), file, indent=1)
    Path(temporary).replace(path)


def forget(directory: Path) -> None:
    """Remove both files."""
    for name in (WISH, STATE):
        (directory / name).unlink(missing_ok=True)


def directories() -> Iterator[Path]:
    """The directories of all boxes that have, or had, a tunnel."""
    return (path.parent for path in sorted((paths.data_dir() / "boxes").glob(f"*/{STATE}")))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return data
