"""Whether and how this machine can make boxes: as root, or as an ordinary user with subordinate user ids."""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TOOLS = ("unshare", "nsenter", "setpriv", "ssh-keygen", "tar", "mount")

# What every box does, in small: if this works, a box will. $1 is a directory for the overlay, $2 extra mount options.
_PROBE = """
set -e
mkdir -p "$1/l" "$1/u" "$1/w" "$1/m"
mount -t overlay overlay -o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w$2" "$1/m"
mkdir "$1/m/proc" "$1/m/pts"
mount -t proc proc "$1/m/proc"
mount -t devpts -o newinstance,ptmxmode=0666,gid=5 devpts "$1/m/pts"
"""


class NoBoxes(Exception):
    """Test boxes cannot be made here; the text says exactly why."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How to get the rights to make boxes. `prefix` runs a command with them, in a mount namespace of its own."""

    rootless: bool
    prefix: tuple[str, ...]
    overlay_options: str


@functools.cache
def isolation() -> Isolation:
    """The way that works here, tried once per process. Raises `NoBoxes`."""
    if sys.platform != "linux":
        raise NoBoxes(f"test boxes need Linux namespaces, this is {sys.platform}")
    rootless = os.geteuid() != 0
    tools = (*_TOOLS, "newuidmap", "newgidmap") if rootless else _TOOLS
    if missing := [tool for tool in tools if not shutil.which(tool, path=tool_path())]:
        raise NoBoxes(f"test boxes need {', '.join(missing)} (Debian packages util-linux, openssh-client, tar, uidmap)")
    way = _rootless() if rootless else Isolation(False, ("unshare", "--mount", "--propagation", "private"), "")
    _probe(way)
    return way


def tool_path() -> str:
    """`PATH` with the system directories that an ordinary user's may lack."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


@functools.cache
def scratch_root() -> Path:
    """Directory for the disks of boxes, made if missing: `$GPUBOX_TEST_SCRATCH`, else one in /dev/shm where there is
    memory to spare or no other choice, else one in /var/tmp."""
    chosen = os.environ.get("GPUBOX_TEST_SCRATCH")
    in_memory = not chosen and (_memory_to_spare() or _file_system("/var/tmp") == "overlay")
    path = Path(chosen or f"{'/dev/shm' if in_memory else '/var/tmp'}/gpubox-boxes-{os.geteuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise NoBoxes(f"{path} belongs to another user; set GPUBOX_TEST_SCRATCH")
    return path


def _memory_to_spare() -> bool:
    """An environment of 2 GB is written and removed several times faster in memory than on most disks.

    Root only: before Linux 6.6 a tmpfs had no user xattrs, which an ordinary user's overlay needs.
    """
    shm = Path("/dev/shm")
    if os.geteuid() != 0 or not shm.is_dir():
        return False
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(available.split()[1]) << 10 > 16 << 30 and shutil.disk_usage(shm).free > 10 << 30


def _file_system(path: str) -> str:
    """Its type. In a container it is often an overlay, on which no other can write."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    above = [(mount[1], mount[2]) for mount in mounts if Path(path).is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[0]))[1]


def _rootless() -> Isolation:
    for table in ("/etc/subuid", "/etc/subgid"):
        names = {getpass.getuser(), str(os.geteuid())}
        lines = Path(table).read_text().splitlines() if Path(table).exists() else []
        if not any(line.split(":")[0] in names for line in lines):
            raise NoBoxes(f"{getpass.getuser()} has no subordinate ids in {table} (see `man 5 subuid`)")
    prefix = ("unshare", "--map-auto", "--map-root-user", "--mount", "--propagation", "private")
    # Without userxattr dpkg in a rootless overlay fails with "Invalid cross-device link".
    return Isolation(True, prefix, ",userxattr")


def _probe(way: Isolation) -> None:
    directory = scratch_root() / f"probe-{os.getpid()}"
    inner = ("unshare", "--pid", "--net", "--uts", "--ipc", "--mount", "--fork", "--kill-child")
    command = [*way.prefix, *inner, "sh", "-c", _PROBE, "sh", str(directory), way.overlay_options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_env())
        if done.returncode != 0:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise NoBoxes(f"namespaces or overlay mounts do not work here: {said} (disk: {directory.parent})")
    finally:
        subprocess.run([*way.prefix, "rm", "-rf", str(directory)], check=False, env=_env(), capture_output=True)


def _env() -> dict[str, str]:
    return {**os.environ, "PATH": tool_path()}
