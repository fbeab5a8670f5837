"""Memory and CPU limits of a box, by cgroup v1 or v2, whichever this machine has."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds, the kernel's default


@dataclass(frozen=True, slots=True)
class Group:
    """One directory. `mount` is what a box mounts at `target` to see it: type and options."""

    path: Path
    kind: str
    options: str
    target: str


def limited(name: str, *, memory: int | None, cpus: float | None) -> list[Group]:
    """Makes the groups that hold `memory` (bytes) and `cpus`. Raises `RuntimeError` where the machine cannot."""
    if memory is None and cpus is None:
        return []
    try:
        if (_ROOT / "cgroup.controllers").exists():
            return [_unified(name, memory, cpus)]
        groups = []
        if memory is not None:
            groups.append(_legacy("memory", name, {"memory.limit_in_bytes": str(memory)}))
        if cpus is not None:
            groups.append(_legacy("cpu", name, {"cpu.cfs_quota_us": str(int(cpus * _PERIOD))}))
    except OSError as error:
        remove(name)
        raise RuntimeError(f"cannot make a cgroup with a limit: {error}") from error
    return groups


def unavailable() -> str | None:
    """Why limits cannot be had here; None when they can."""
    name = f"gpubox-test-{secrets.token_hex(6)}"
    try:
        limited(name, memory=64 << 20, cpus=1)
    except RuntimeError as error:
        return str(error)
    remove(name)
    return None


def remove(name: str) -> None:
    """Removes the groups of a box whose processes are gone."""
    for path in [_ROOT / name, *(_own(controller) / name for controller in ("memory", "cpu"))]:
        # The kernel lets go of a group some milliseconds after its last process.
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError):
                try:
                    path.rmdir()
                except OSError as error:
                    if isinstance(error, FileNotFoundError):
                        raise
                    time.sleep(0.01)
                    continue
            break


def _unified(name: str, memory: int | None, cpus: float | None) -> Group:
    for controller in ("memory", "cpu"):
        if controller not in (_ROOT / "cgroup.subtree_control").read_text().split():
            (_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    path = _ROOT / name
    path.mkdir()
    if memory is not None:
        (path / "memory.max").write_text(str(memory))
    if cpus is not None:
        (path / "cpu.max").write_text(f"{int(cpus * _PERIOD)} {_PERIOD}")
    return Group(path, "cgroup2", "ro", "/sys/fs/cgroup")


def _legacy(controller: str, name: str, limits: dict[str, str]) -> Group:
    path = _own(controller) / name
    path.mkdir()
    for file, value in limits.items():
        (path / file).write_text(value)
    return Group(path, "cgroup", f"ro,{_hierarchy(controller)[0]}", f"/sys/fs/cgroup/{controller}")


def _own(controller: str) -> Path:
    """The group that this process is in: a box's group lies in it, and so under its limits."""
    return _ROOT / controller / _hierarchy(controller)[1].lstrip("/")


def _hierarchy(controller: str) -> tuple[str, str]:
    """The controllers mounted together with this one, and this process' path in them."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, together, path = line.split(":", 2)
        if controller in together.split(","):
            return together, path
    return controller, "/"
