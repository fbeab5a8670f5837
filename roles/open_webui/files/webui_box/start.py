"""What the service runs: secrets from their files, a free port, then open-webui in this process's place."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from webui_box import ports
from webui_box.errors import Trouble
from webui_box.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path

# The job that makes open-webui's environment: the service may be started before it has ended.
_JOB = "GPUBOX_AFTER_JOB"
# Of this program, and not of open-webui.
_OURS = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", _JOB)
# Longer than any environment takes, in seconds; a job that fails ends the wait at once.
_PATIENCE = 7200


@dataclass(frozen=True)
class Place:
    """Where the lasting things lie: `data/`, `secret-key`, `admin-password`."""

    path: Path

    @property
    def data(self) -> Path:
        """open-webui's DATA_DIR."""
        return self.path / "data"

    @property
    def secret_key(self) -> Path:
        """The file with the key that signs sessions."""
        return self.path / "secret-key"

    @property
    def admin_password(self) -> Path:
        """The file with the first admin's password."""
        return self.path / "admin-password"


def run(place: Place, command: list[str]) -> NoReturn:
    """Become `command` (`.../open-webui serve --host H --port P`). Raises `Trouble`."""
    os.umask(0o077)
    if job := os.environ.get(_JOB):
        _wait_for(place, job)
    ports.need_free(int(command[command.index("--port") + 1]))
    place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in (place.path, place.data):
        directory.chmod(0o700)
    prepare(place.path, command[0])
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment["WEBUI_SECRET_KEY"] = kept(place.secret_key, size=48)
    # open-webui looks at it only while its database has no user.
    environment["WEBUI_ADMIN_PASSWORD"] = kept(place.admin_password, size=18)
    sys.stderr.flush()
    # Where open-webui would write a key of its own, if it ever wanted to.
    os.chdir(place.data)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell; the words are the role's


def _wait_for(place: Place, job: str) -> None:
    """Until the job has ended well: nothing else has to wait for it, and open-webui starts at the first moment."""
    boxctl = place.path.parent / "bin" / "boxctl"
    done = subprocess.run(
        [str(boxctl), "job", "wait", job, "--timeout", str(_PATIENCE)], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise Trouble(f"open-webui cannot start before job `{job}` has ended well; `boxctl logs {job}`")


def kept(file: Path, *, size: int) -> str:
    """The secret in `file`; a random one of `size` bytes is put there when there is none. Raises `Trouble`."""
    try:
        with open(file, "x", encoding="utf-8", opener=_private) as out:
            out.write(f"{secrets.token_urlsafe(size)}\n")
    except FileExistsError:
        file.chmod(0o600)
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        raise Trouble(f"`{file}` is empty; remove it to get a new one, or bring it back with a backup")
    return text


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
