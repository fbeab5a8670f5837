"""The parts of an SSH login line: destinations, ports, jump hosts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]*\$?")


class Unreadable(ValueError):
    """Why a line is no login: a clause that goes on after "this is no SSH login that gpubox understands: "."""


@dataclass(frozen=True, slots=True)
class Target:
    """`[user@]host[:port]`, as far as it was written."""

    host: str
    user: str | None = None
    port: int | None = None


def read_target(text: str) -> Target:
    """Read `[user@]host[:port]`, `[user@][v6]:port`, a bare IPv6 address or `ssh://...`. Raises `Unreadable`."""
    rest, is_url = text, False
    if text.lower().startswith("ssh://"):
        rest, is_url = text[6:].rstrip("/"), True
    elif "://" in text:
        raise Unreadable(f"`{text}` is another kind of address")
    user_part, at, place = rest.rpartition("@")
    user = (unquote(user_part) if is_url else user_part) if at else None
    host, port = _host_and_port(place)
    if user is not None:
        check_user(user)
    return Target(host, user, port)


def read_port(text: str) -> int:
    """Read a TCP port. Raises `Unreadable`."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Unreadable(f"`{text}` is no port (1 to 65535)")
    return int(text)


def read_jump(text: str) -> str | None:
    """Check what stands after `-J`: destinations joined by commas, or `none`. Raises `Unreadable`."""
    if text.lower() == "none":
        return None
    for hop in text.split(","):
        read_target(hop)
    return text


def check_user(user: str) -> str:
    """A user's name. Raises `Unreadable`, without repeating a password that may stand in it."""
    if ":" in user:
        raise Unreadable("a password stands in it; leave it out, it is asked for when it is needed")
    if not _USER.fullmatch(user):
        raise Unreadable(f"`{user}` is no user name")
    return user


def check_host(host: str) -> str:
    """A host's name or address. Raises `Unreadable`."""
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise Unreadable(f"`{host}` is no address") from None
    elif not _HOST.fullmatch(host):
        raise Unreadable(f"`{host}` is no host name" if host else "it names no host")
    return host


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or ":" not in host:
            raise Unreadable(f"`{place}` is no address")
        return check_host(host), read_port(port[1:]) if port else None
    if place.count(":") > 1:
        return check_host(place), None
    host, colon, port = place.partition(":")
    return check_host(host), read_port(port) if colon else None
