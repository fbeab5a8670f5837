"""Where things lie under the root of a box. docs/architecture.md has the picture."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from boxctl.errors import BoxctlError, UsageError

CONVERGE = "converge"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PRIVATE = ("supervisor", "supervisor/conf.d", "services", "jobs", "logs", "converge")


class Layout:
    """Paths below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.supervisor = root / "supervisor"
        self.confs = self.supervisor / "conf.d"
        self.conf = self.supervisor / "supervisord.conf"
        self.supervisord_pid = self.supervisor / "supervisord.pid"
        self.supervisord_log = self.supervisor / "supervisord.log"
        self.keeper = self.supervisor / "keeper.sh"
        self.keeper_pid = self.supervisor / "keeper.pid"
        self.stop_mark = self.supervisor / "stop"
        self.services = root / "services"
        self.jobs = root / "jobs"
        self.logs = root / "logs"
        self.results = root / "results"
        self.converge = root / "converge"
        self.converged = root / "converged.json"
        self.bundles = root / "bundles"
        self.python = root / "controller" / "bin" / "python"

    def service(self, name: str) -> Path:
        """Directory of a service."""
        return self.services / checked(name)

    def job(self, name: str) -> Path:
        """Directory of a job."""
        return self.jobs / checked(name)

    def run(self, run: str) -> Path:
        """Directory of a converge run."""
        return self.converge / checked(run)

    def log(self, name: str) -> Path:
        """Log of a service or job; `supervisord` has its own."""
        return self.supervisord_log if name == "supervisord" else self.logs / f"{checked(name)}.log"

    def make(self) -> None:
        """Make the directories; they hold logs and secrets, so they are for their owner only."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name in _PRIVATE:
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def socket(self) -> Path:
        """supervisord's control socket: not under the root, since a socket's path may only have 107 bytes."""
        from hashlib import sha256

        digest = sha256(str(self.root).encode()).hexdigest()[:12]
        return Path("/tmp") / f"gpubox-{os.getuid()}-{digest}" / "supervisor.sock"  # noqa: S108 - checked to be ours

    def make_socket_directory(self) -> None:
        """Make the socket's directory, 0700. Raises `BoxctlError` when somebody else has made it."""
        place = self.socket.parent
        place.mkdir(mode=0o700, exist_ok=True)
        info = place.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise BoxctlError(f"`{place}` belongs to somebody else", hint=f"remove it: `rm -rf {place}` as its owner")
        place.chmod(0o700)


def find() -> Layout:
    """The root named by `$GPUBOX_ROOT`, else the one that this package lies in (`<root>/lib/boxctl`)."""
    named = os.environ.get("GPUBOX_ROOT")
    root = Path(named).absolute() if named else Path(__file__).resolve().parents[2]
    if not (root / "lib").is_dir() and not (root / "supervisor").is_dir():
        raise UsageError(f"`{root}` is no gpubox root", hint="set `GPUBOX_ROOT`, or run the box's own `bin/boxctl`")
    return Layout(root)


def checked(name: str) -> str:
    """`name` when it can name a service, job or run. Raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` cannot be a name", hint="letters, digits, `_`, `-` and `.`, at most 64 characters")
    return name


def boot_mark() -> str:
    """What tells this boot of the box from the next: a container keeps its host's boot id but gets a new PID 1."""
    boot, first = "", ""
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        first = Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19]
    return f"{boot} {first}"
