"""The Debian root file system under every box: made once with mmdebstrap, then cached.

The archive is keyed by what is in it; each user (root, or an ordinary user with mapped ids) unpacks it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from box.testbox.isolation import NoBoxes, isolation, tool_path

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "ca-certificates", "curl", "git", "iproute2", "less", "libnuma1", "openssh-server", "procps", "python3",
    "python3-apt", "python3-venv", "rsync", "tmux", "wget",
)  # fmt: skip
_RECIPE = 1  # raise it when `_make` changes
_SLIM = ("man", "doc", "locale", "info")


def cache_root() -> Path:
    """`$GPUBOX_TEST_CACHE`, else `~/.cache/gpubox-tests`; made if missing."""
    path = Path(os.environ.get("GPUBOX_TEST_CACHE") or Path.home() / ".cache" / "gpubox-tests").absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def archive() -> Path:
    """The tar of the base, made if missing (about a minute). Raises `NoBoxes` when it cannot be made."""
    path = cache_root() / f"base-{_key()}.tar"
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            for stale in path.parent.glob(f"{path.stem}.partial-*"):
                stale.unlink()
            # Own name: an mmdebstrap that outlived its killed test may still be writing to the old one.
            partial = path.with_suffix(f".partial-{os.getpid()}")
            _make(partial)
            partial.rename(path)
    return path


def base() -> Path:
    """The unpacked base, read-only by agreement: the lower layer of every box."""
    path = cache_root() / f"base-{_key()}-{os.geteuid()}"
    if path.is_dir():
        return path
    tar = archive()
    with locked(path.with_name(path.name + ".lock")):
        if not path.is_dir():
            _unpack(tar, path)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock between processes; it ends with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(tar: Path, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    # Device files cannot be made in a user namespace; a box mounts its own /dev.
    script = 'rm -rf "$2" && mkdir "$2" && tar -xpf "$1" -C "$2" --numeric-owner --exclude="./dev/*"'
    command = [*isolation().prefix, "sh", "-c", script, "sh", str(tar), str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoBoxes(f"cannot unpack {tar}: {done.stderr.strip()}")
    partial.rename(path)


def _make(tar: Path) -> None:
    path = tool_path()
    if not shutil.which("mmdebstrap", path=path):
        raise NoBoxes("the boxes' root file system is made with mmdebstrap: `apt-get install mmdebstrap`")
    suite, mirror, components = _distribution()
    command = [
        "mmdebstrap", "--variant=minbase", "--format=tar", f"--components={components}",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Retries "3"',
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in _SLIM), suite, str(tar), mirror,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    if done.returncode != 0:
        tail = "; ".join(done.stderr.strip().splitlines()[-4:])
        raise NoBoxes(f"mmdebstrap could not make the boxes' root file system: {tail}")


def _key() -> str:
    text = f"{_RECIPE} {' '.join(PACKAGES)} {platform.machine()} {_os_release().get('VERSION_CODENAME')}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _os_release() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def _distribution() -> tuple[str, str, str]:
    """Suite, mirror and components, as this machine's own apt is configured."""
    release = _os_release()
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") not in {"debian", "ubuntu"} or not suite:
        raise NoBoxes(
            f"the boxes' root file system is made from Debian's or Ubuntu's archive; this is {release.get('ID')}"
        )
    components = "main" if release["ID"] == "debian" else "main,universe"
    for uris, suites in _apt_sources(Path("/etc/apt")):
        if suite in suites:
            return suite, uris, components
    raise NoBoxes(f"no apt source for {suite} in /etc/apt")


def _apt_sources(directory: Path) -> Iterator[tuple[str, list[str]]]:
    for file in sorted(directory.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text()):
            fields = dict(re.findall(r"^(Types|URIs|Suites):\s*(.+)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and {"URIs", "Suites"} <= fields.keys():
                yield fields["URIs"].split()[0], fields["Suites"].split()
    for file in [directory / "sources.list", *sorted(directory.glob("sources.list.d/*.list"))]:
        text = file.read_text() if file.exists() else ""
        for uri, suite in re.findall(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE):
            yield uri, [suite]
