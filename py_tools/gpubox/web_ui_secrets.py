"""The secrets of each box's web UI, kept here: with them a database that came home can be signed in to anywhere.

They lie in the keyring of the operating system where there is one, else in a file of the box's directory that only its
owner can read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.accounts import SERVICE, keyring_backend
from gpubox.errors import AuthFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secrets:
    """The first admin's password, and the key that signs sessions."""

    password: str = field(repr=False)
    secret_key: str = field(repr=False)


def of(name: str) -> Secrets | None:
    """What is kept for the box `name`; None when nothing is. Raises `AuthFailed` when it cannot be read."""
    # A file is there only where the keyring did not take it, and so is never older than the keyring's.
    text = _read_file(name)
    text = _read_keyring(name) if text is None else text
    return None if text is None else _parsed(name, text)


def ensure(name: str) -> tuple[Secrets, bool]:
    """What is kept for the box `name`, made up when nothing is; and whether it was just made, to be shown once."""
    with _locked(name):
        if (kept := of(name)) is not None:
            return kept, False
        # As long as those that the role makes up.
        made = Secrets(secrets.token_urlsafe(18), _secret_key())
        _write(name, made)
        return made, True


def replace(name: str, new: Secrets) -> None:
    """Keep these for the box `name` from now on."""
    with _locked(name):
        _write(name, new)


def set_password(name: str, password: str) -> None:
    """Keep another password for the box `name`, and its key; a key is made up when none can be read."""
    with _locked(name):
        try:
            kept = of(name)
        except AuthFailed:
            kept = None
        _write(name, Secrets(password, kept.secret_key if kept else _secret_key()))


def where(name: str) -> str:
    """Where they are kept, in words."""
    return f"`{_file(name)}`" if _file(name).exists() else "the keyring of this machine"


def _secret_key() -> str:
    return secrets.token_urlsafe(48)


def _write(name: str, new: Secrets) -> None:
    text = json.dumps(asdict(new))
    if _write_keyring(name, text):
        _file(name).unlink(missing_ok=True)
        return
    path = _file(name)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    with temporary.open("r+", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def _write_keyring(name: str, text: str) -> bool:
    backend = keyring_backend()
    if backend is None:
        return False
    from keyring.errors import KeyringError

    try:
        backend.set_password(SERVICE, _entry(name), text)
        return backend.get_password(SERVICE, _entry(name)) == text
    # A locked one, or one without its own service: the file serves.
    except (KeyringError, OSError, RuntimeError):
        return False


def _read_keyring(name: str) -> str | None:
    backend = keyring_backend()
    if backend is None:
        return None
    from keyring.errors import KeyringError

    try:
        return backend.get_password(SERVICE, _entry(name))
    except (KeyringError, OSError, RuntimeError):
        return None


def _read_file(name: str) -> str | None:
    path = _file(name)
    try:
        with path.open(encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
                raise _unusable(name, f"other users of this machine can read or change `{path}`")
            return stream.read(65536)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(name, f"`{path}` cannot be read: {error}") from None


def _parsed(name: str, text: str) -> Secrets:
    try:
        found = json.loads(text)
        return Secrets(str(found["password"]), str(found["secret_key"]))
    except (ValueError, KeyError, TypeError):
        raise _unusable(name, f"what {where(name)} holds is not what gpubox wrote there") from None


def _unusable(name: str, why: str) -> AuthFailed:
    return AuthFailed(
        f"the secrets of the web UI of `{name}` cannot be used: {why}",
        where=name,
        hint=f"mend that, or write them anew: `gpubox open {name} --set-password`",
    )


def _file(name: str) -> Path:
    return paths.box_dir(name) / "web-ui.json"


def _entry(name: str) -> str:
    # Two ledgers of one person may both know a box of this name.
    return f"web-ui-{name}-{sha256(str(paths.data_dir()).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Nobody else writes them meanwhile: two `up`s of one box must not make up two passwords."""
    descriptor = os.open(paths.box_dir(name) / "web-ui.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
