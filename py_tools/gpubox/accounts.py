"""The keys of rented accounts: where each is looked for, in which order, and how to give one.

An environment variable, then the keyring of the operating system, then a file that only its owner can read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpubox import paths
from gpubox.errors import AuthFailed

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "gpubox"  # In the keyring; the user there is `Credential.entry`.


class Credential(NamedTuple):
    """One key of one account, as in `("autodl", "token", "AUTODL_TOKEN")`."""

    provider: str
    field: str
    variable: str

    @property
    def entry(self) -> str:
        """Its name in the keyring and among the files: `autodl-token`."""
        return f"{self.provider}-{self.field}"


AUTODL_TOKEN = Credential("autodl", "token", "AUTODL_TOKEN")
COMPSHARE_PUBLIC_KEY = Credential("compshare", "public-key", "COMPSHARE_PUBLIC_KEY")
COMPSHARE_PRIVATE_KEY = Credential("compshare", "private-key", "COMPSHARE_PRIVATE_KEY")
AWS_ACCESS_KEY_ID = Credential("ec2", "access-key-id", "AWS_ACCESS_KEY_ID")
AWS_SECRET_ACCESS_KEY = Credential("ec2", "secret-access-key", "AWS_SECRET_ACCESS_KEY")

# What a person needs for a provider. One of them is enough to call the account configured: half a pair of keys is a
# mistake that the provider's first call has to tell, not an account to pass over in silence while it bills.
NEEDED: dict[str, tuple[Credential, ...]] = {
    "autodl": (AUTODL_TOKEN,),
    "compshare": (COMPSHARE_PUBLIC_KEY, COMPSHARE_PRIVATE_KEY),
    "ec2": (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY),
}


def secret(credential: Credential) -> str:
    """The key. Raises `AuthFailed`, naming all three places, when it is in none of them or cannot be used."""
    value, trouble = _look(credential)
    if value is not None:
        return value
    message = f"there is no {credential.field.replace('-', ' ')} of the `{credential.provider}` account"
    raise AuthFailed(
        message + (f" (and the keyring cannot be read: {trouble})" if trouble else ""),
        where=credential.provider,
        hint=f"set `{credential.variable}`, or run `keyring set {SERVICE} {credential.entry}`,"
        f" or write it to `{file_of(credential)}` (mode 0600)",
    )


def find(credential: Credential) -> str | None:
    """The key, None when it is nowhere. Raises `AuthFailed` for one that cannot be used."""
    return _look(credential)[0]


def configured() -> list[str]:
    """The providers that we have keys for, or half of the keys, or a key that the first call will refuse to use."""
    return [name for name, needed in NEEDED.items() if any(map(_given, needed)) or (name == "ec2" and _aws_files())]


def file_of(credential: Credential) -> Path:
    """The file that is read when neither the environment nor the keyring has the key; it need not exist."""
    return paths.data_dir() / "credentials" / credential.entry


def _given(credential: Credential) -> bool:
    try:
        return find(credential) is not None
    except AuthFailed:
        return True


def _look(credential: Credential) -> tuple[str | None, str | None]:
    """The key, and what went wrong in the keyring."""
    if value := os.environ.get(credential.variable, "").strip():
        return _usable(value, f"the environment variable `{credential.variable}`"), None
    kept, trouble = _from_keyring(credential.entry)
    if kept:
        return _usable(kept, f"the keyring's entry `{SERVICE}`, `{credential.entry}`"), None
    return _from_file(credential), trouble


def keyring_backend() -> KeyringBackend | None:
    """The keyring of the operating system; None on a machine without one, or with one that cannot be loaded."""
    try:
        return _backend()
    except _UNLOADABLE:
        return None


def _backend() -> KeyringBackend | None:
    import logging

    # A plug-in that does not load is logged, and without any handler Python prints that on stderr.
    logger = logging.getLogger("keyring")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    import keyring
    from keyring.backends import fail, null

    backend = keyring.get_keyring()
    return None if isinstance(backend, fail.Keyring | null.Keyring) else backend


# `PYTHON_KEYRING_BACKEND` or keyring's own configuration names a backend that cannot be loaded.
_UNLOADABLE = (OSError, ImportError, AttributeError, RuntimeError, ValueError)


def _from_keyring(entry: str) -> tuple[str | None, str | None]:
    """What the keyring has; a machine without one has nothing, and that is well."""
    try:
        from keyring.errors import KeyringError
    except ImportError as error:
        return None, str(error)
    try:
        backend = _backend()
        if backend is None:
            return None, None
        return (backend.get_password(SERVICE, entry) or "").strip() or None, None
    except (KeyringError, *_UNLOADABLE) as error:
        return None, str(error) or type(error).__name__


def _from_file(credential: Credential) -> str | None:
    path = file_of(credential)
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in (0, os.geteuid()):
                raise AuthFailed(
                    f"other users of this machine can read or change the key in `{path}`, so it is not used",
                    where=credential.provider,
                    hint=f"chown {os.geteuid()} {path} && chmod 600 {path}; a key that others saw should be replaced",
                )
            text = stream.read(65536).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthFailed(
            f"the key in `{path}` cannot be read: {error.strerror}",
            where=credential.provider,
            hint=f"make it a file of yours (mode 0600), or set `{credential.variable}`",
        ) from error
    return _usable(text.strip(), f"`{path}`") if text.strip() else None


def _usable(value: str, place: str) -> str:
    # Such a thing in an HTTP header would make the client complain with the key in its words.
    if value.isascii() and value.isprintable() and " " not in value:
        return value
    raise AuthFailed(
        f"what {place} holds is not a key: it has spaces, several lines or other characters that no key has",
        where=place.strip("`"),
        hint="copy the key anew from the provider's web page",
    )


def _aws_files() -> bool:
    """Whether AWS's own configuration names a way to log in."""
    import configparser

    if os.environ.get("AWS_PROFILE") or os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return True
    ways = {"aws_access_key_id", "credential_process", "sso_session", "sso_start_url", "role_arn", "login_session"}
    for variable, fallback in (
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ("AWS_CONFIG_FILE", "~/.aws/config"),
    ):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(Path(os.environ.get(variable) or fallback).expanduser(), encoding="utf-8")
        except (configparser.Error, OSError, ValueError):
            return True  # There is something, and boto3 will say what is wrong with it.
        if any(ways & set(parser[section]) for section in parser.sections()):
            return True
    return False
