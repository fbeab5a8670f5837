"""What went wrong on the way to a box, in sentences: one place for both clients, paramiko and OpenSSH."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING

from gpubox.errors import AuthFailed, Failed, GpuboxError, HostKeyChanged, LinkLost, Unreachable

if TYPE_CHECKING:
    from gpubox.remote.login import Endpoint


def fingerprint(key: str) -> str:
    """The SHA-256 fingerprint of a public key `TYPE BASE64 [comment]`, as `ssh-keygen -l` shows it: `SHA256:...`."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise ValueError(f"not a public key: {key!r}") from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def host_key_changed(
    name: str, endpoint: Endpoint, *, pinned: str, shown: str | None = None, mark: str | None = None
) -> HostKeyChanged:
    """The explanation of a host key that is not the pinned one, from the key shown or from its fingerprint `mark`."""
    now = f"{fingerprint(shown)} ({_kind(shown)})" if shown else (mark or "another one")
    return HostKeyChanged(
        f"the host key of box `{name}` ({endpoint}) has changed\n"
        f"  pinned when the box was added: {fingerprint(pinned)} ({_kind(pinned)})\n"
        f"  shown just now:                {now}\n"
        "Harmless when you know the reason: the box got a new image, was rented anew at the same host and port, or was "
        "rebuilt.\n"
        "With no such reason, somebody may stand between you and the box: they would read all that you send. "
        "Nothing was sent.",
        where=name,
        hint=f"when you know the reason, accept the new key: `gpubox add {name} --accept-new-key`",
    )


def no_such_host(name: str, endpoint: Endpoint) -> Unreachable:
    """The host name has no address."""
    return Unreachable(
        f"the host name `{endpoint.host}` is not known to the DNS",
        where=name,
        hint="compare it with the provider's login line; if it is right, look at this machine's network",
    )


def refused(name: str, endpoint: Endpoint) -> Unreachable:
    """The host is up, but nobody listens on the port."""
    return Unreachable(
        f"{endpoint.host} is up but refuses connections to port {endpoint.port}",
        where=name,
        hint="the box is switched off, still starting, or has another port now: compare the provider's login line",
    )


def host_down(name: str, endpoint: Endpoint, *, seconds: float | None = None, reason: str | None = None) -> Unreachable:
    """No answer at all from the host."""
    said = f"no answer within {seconds:g} s" if seconds is not None else (reason or "no answer")
    return Unreachable(
        f"cannot reach {endpoint.host} port {endpoint.port}: {said}",
        where=name,
        hint="is the box switched on, and does this machine have a network (a proxy, a VPN, a firewall)?",
    )


def no_ssh_there(name: str, endpoint: Endpoint, reason: str) -> Unreachable:
    """Something listens, but does not speak SSH with us (to its end)."""
    return Unreachable(
        f"{endpoint.host} port {endpoint.port} accepts the connection, but SSH does not answer: {reason}",
        where=name,
        hint="an overloaded or still starting box, a gateway that drops new logins, or not an SSH port; try again",
    )


def auth_failed(name: str, endpoint: Endpoint, tried: str, *, hint: str | None = None) -> AuthFailed:
    """The server knows none of what we showed it."""
    return AuthFailed(
        f"{endpoint.host} port {endpoint.port} does not let `{endpoint.user}` in with {tried}",
        where=name,
        hint=hint or f"`gpubox add {name}` installs the key again (it asks for the box's password)",
    )


def link_lost(name: str, reason: str) -> LinkLost:
    """A connection that was up is gone."""
    return LinkLost(f"the connection to the box is gone: {reason}", where=name, hint="what runs on the box goes on")


def disk_hint(name: str, words: str) -> str | None:
    """What mends the disk trouble that a program on the box speaks of; None when it speaks of none."""
    return next((hint.format(name=name) for sign, hint in _DISK_TROUBLE.items() if sign in words.lower()), None)


_DISK_TROUBLE = {
    "no space left": "`gpubox ssh {name} df -h` shows which disk of the box is full; make room there, then try again",
    "quota exceeded": "`gpubox ssh {name} df -h` shows how much is used; make room there, then try again",
    "read-only file system": "`gpubox ssh {name} mount` shows which disk is read-only; choose another `data_dir`",
}


def from_openssh(stderr: str, name: str, endpoint: Endpoint, *, pinned: str) -> GpuboxError:
    """What an `ssh` child that ended with 255 meant, read from its stderr (English in every locale)."""

    def says(*signs: str) -> bool:
        return any(sign in stderr for sign in signs)

    error: GpuboxError
    if says("IDENTIFICATION HAS CHANGED", "Host key verification failed"):
        mark = re.search(r"SHA256:[A-Za-z0-9+/]+", stderr)
        error = host_key_changed(name, endpoint, pinned=pinned, mark=mark.group() if mark else None)
    elif says("Permission denied", "Too many authentication failures"):
        error = auth_failed(name, endpoint, "our key")
    elif taken := taken_port(stderr):
        error = Failed(
            f"port {taken} of this machine was taken by another program meanwhile",
            where=name,
            hint=f"close that program, or take other ports: `gpubox tunnel {name} --stop`, then `gpubox tunnel {name}`",
        )
    elif says("Could not resolve hostname"):
        error = no_such_host(name, endpoint)
    elif says("Connection refused"):
        error = refused(name, endpoint)
    elif says("Connection timed out", "No route to host", "Network is unreachable"):
        error = host_down(name, endpoint, reason=_last_line(stderr))
    elif says("not responding", "Broken pipe", "closed by remote host"):
        error = link_lost(name, _last_line(stderr))
    else:
        error = no_ssh_there(name, endpoint, _last_line(stderr))
    return error


def taken_port(stderr: str) -> int | None:
    """The port of this machine that `ssh` could not bind because another program has it."""
    found = re.search(r"bind \[[^]]*\]:(\d+): Address already in use", stderr)
    return int(found[1]) if found else None


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return re.sub(r"^ssh: ", "", lines[-1]).rstrip(".") if lines else "it ended without a word"


def _kind(key: str) -> str:
    return key.split(maxsplit=1)[0]
