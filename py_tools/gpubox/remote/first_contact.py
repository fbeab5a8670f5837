"""The first login to a box: look at its host key, get in by whatever the person has, leave our key, prove it works."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.errors import AuthFailed, HostKeyChanged, Refused, Unreachable
from gpubox.remote import explain
from gpubox.remote.connect import open_connection, with_key
from gpubox.remote.host import Host, failed, run_on
from gpubox.remote.identity import ensure_identity, public_key
from gpubox.remote.login import Login

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fabric import Connection

    from gpubox.remote.login import Endpoint

__all__ = ["ensure_identity", "first_contact"]

# POSIX sh. A key that stands in the file in a comment does not count, one with options in front does.
_INSTALL = """
umask 077
key={key}
blob={blob}
mkdir -p "$HOME/.ssh" && chmod 700 "$HOME/.ssh" && cd "$HOME/.ssh" || exit 1
if [ ! -e authorized_keys ]; then : >authorized_keys || exit 1; fi
chmod 600 authorized_keys || exit 1
if grep -v '^[[:space:]]*#' authorized_keys | grep -qF "$blob"; then exit 0; fi
if [ -n "$(tail -c 1 authorized_keys)" ]; then echo >>authorized_keys || exit 1; fi
printf '%s\\n' "$key" >>authorized_keys
"""


def first_contact(
    name: str,
    endpoint: Endpoint,
    *,
    password: Callable[[], str] | None,
    pinned: str | None,
    accept: Callable[[str, str], bool],
    identity_file: Path,
    other_keys: Sequence[Path] = (),
) -> str:
    """Make the box one that `identity_file` opens, and return its host key (`TYPE BASE64`), from now on pinned.

    The host key is compared with `pinned`; without one, `accept(fingerprint, key)` decides. Then `identity_file`,
    `other_keys`, the agent's and the person's own keys are tried, and after them `password`, asked at most once.
    Raises `HostKeyChanged`, `Refused` (not accepted), `AuthFailed` and `Unreachable`.
    """
    door = _Door(name, endpoint, pinned, accept)
    with _let_in(door, password, identity_file, other_keys) as connection:
        script = _install_script(public_key(identity_file))
        result = run_on(name, connection, "sh", stdin=script.encode(), timeout=30)
    if result.exit_code != 0:
        raise failed(name, "install our key", result)
    _prove(Login(name, endpoint, identity_file, door.key))
    return door.key


class _Door:
    """The host key of one box: the question is put once, every further connection is held to the answer."""

    def __init__(self, name: str, endpoint: Endpoint, pinned: str | None, accept: Callable[[str, str], bool]) -> None:
        self.name = name
        self.endpoint = endpoint
        self.key = pinned or ""
        self.seen = False
        self._accept = accept

    def check(self, shown: str) -> None:
        if not self.key:
            mark = explain.fingerprint(shown)
            if not self._accept(mark, shown):
                raise Refused(f"the host key {mark} was not accepted; nothing was sent", where=self.name)
            self.key = shown
        if shown != self.key:
            raise explain.host_key_changed(self.name, self.endpoint, pinned=self.key, shown=shown)
        self.seen = True

    def open(self, auth: dict[str, Any], tried: str, *, retry: bool = True) -> Connection:
        return open_connection(
            self.name,
            self.endpoint,
            check=self.check,
            auth=auth,
            tried=tried,
            prefer=self.key.split(maxsplit=1)[0] if self.key else None,
            retry=retry,
        )


def _let_in(door: _Door, password: Callable[[], str] | None, ours: Path, others: Sequence[Path]) -> Connection:
    """A connection by our key, else by whatever key the person has, else by the password."""
    ways: list[tuple[dict[str, Any], bool]] = [(with_key(ours), True)]
    if others or os.environ.get("SSH_AUTH_SOCK") or any(Path("~/.ssh").expanduser().glob("id_*")):
        # Apart from ours: a server may hang up after a few wrong keys (MaxAuthTries), some do after the first.
        theirs = {"key_filename": [str(key) for key in others], "allow_agent": True, "look_for_keys": True}
        ways.append((theirs, False))
    for auth, retry in ways:
        try:
            return door.open(auth, "any key of yours", retry=retry)
        except HostKeyChanged:
            raise
        except (AuthFailed, Unreachable):
            # Before the host key was seen nothing was tried: the box cannot be reached.
            if not door.seen:
                raise
    if password is None:
        raise explain.auth_failed(
            door.name,
            door.endpoint,
            "any key of yours",
            hint=f"run `gpubox add {door.name} ...` in a terminal, where it can ask for the password",
        )
    secret = password()
    return door.open({"password": secret, "allow_agent": False, "look_for_keys": False}, "this password")


def _install_script(public: str) -> str:
    return _INSTALL.format(key=shlex.quote(public), blob=shlex.quote(public.split()[1]))


def _prove(login: Login) -> None:
    try:
        with Host(login) as host:
            host.run("exit 0", retry=True)
    except HostKeyChanged:
        raise
    except AuthFailed as error:
        raise AuthFailed(
            "our key stands in `~/.ssh/authorized_keys` of the box, but its SSH server does not accept it",
            where=login.name,
            hint="look there for `PubkeyAuthentication no` or another `AuthorizedKeysFile` in /etc/ssh/sshd_config, "
            "and for a home directory that others may write to (`chmod go-w ~`)",
        ) from error
