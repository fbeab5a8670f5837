"""What lies where in the directory of a local box, and the two small files that say what it is and whether it runs."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pydantic

from gpubox.errors import Failed

MARKER = "GPUBOX_LOCAL_BOX"
"""Environment variable that every process of a local box carries; its value is the box's id."""

# Sockets below TMPDIR (vLLM's ZeroMQ ones have names of 37 bytes, multiprocessing's of 33) must fit into the 104 bytes
# that macOS allows a socket's path (Linux 107).
_LONGEST_TMPDIR = 60


class Identity(pydantic.BaseModel, frozen=True):
    """Who may log in to the box; made once. Holds a password: only ever written with mode 0600."""

    name: str
    user: str = "root"
    password: str = pydantic.Field(repr=False, default_factory=lambda: secrets.token_urlsafe(18))


class Running(pydantic.BaseModel, frozen=True):
    """The server process as it last started. `created` is psutil's creation time (seconds since the epoch)."""

    pid: int
    created: float
    port: int
    host_key: str


Model = TypeVar("Model", bound=pydantic.BaseModel)


@dataclass(frozen=True, slots=True)
class BoxDir:
    """The directory of one local box."""

    path: Path

    @property
    def id(self) -> str:
        """Follows from the path alone, so that processes can be found even when every file of the box is gone."""
        return hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:16]

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def bin(self) -> Path:
        return self.path / "bin"

    @property
    def tmp_link(self) -> Path:
        """Short name for `tmp`, used as TMPDIR where the real path is too long for a Unix socket below it."""
        return Path("/tmp") / f"gpubox-{self.id}"  # noqa: S108  (a link in a sticky directory, made exclusively)

    @property
    def short_tmp(self) -> Path:
        return self.tmp_link if len(os.fsencode(self.tmp)) > _LONGEST_TMPDIR else self.tmp

    @property
    def authorized_keys(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    @property
    def identity_file(self) -> Path:
        return self.path / "box.json"

    @property
    def running_file(self) -> Path:
        return self.path / "server.json"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def host_key_file(self) -> Path:
        return self.path / "host_key"

    @property
    def lock_file(self) -> Path:
        return self.path / "server.lock"

    @property
    def log_file(self) -> Path:
        return self.path / "server.log"

    def identity(self) -> Identity | None:
        return _read(self.identity_file, Identity)

    def running(self) -> Running | None:
        """What the server wrote at its last start; says nothing about whether it still lives."""
        return _read(self.running_file, Running)

    def environment(self) -> dict[str, str]:
        """The environment of sessions. Raises `Failed` when it is not there or cannot be read."""
        try:
            read: dict[str, str] = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unreadable(self.environment_file) from error
        return read


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` with mode 0600, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> Failed:
    return Failed(
        "a file of the local box cannot be read",
        where=str(path),
        hint=f"take the box down and make it anew: `gpubox down {path.parent.name}`",
    )
