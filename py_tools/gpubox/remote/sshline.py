"""Reading an SSH login line as people paste it: from a provider's page, a chat, or their own shell history."""

from __future__ import annotations

import shlex
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gpubox.errors import BadSshLine
from gpubox.remote.login import Endpoint
from gpubox.remote.sshline_config import resolve
from gpubox.remote.sshline_target import Target, Unreadable, check_host, check_user, read_jump, read_port, read_target

if TYPE_CHECKING:
    from collections.abc import Iterator

_Value = TypeVar("_Value", int, str)
_EXAMPLE = "ssh -p 38076 root@connect.westb.seetacloud.com"
# Flags that say nothing about where the box is or who we are there.
_HARMLESS = set("1246AaCfgkKMnNqtTvxXYy")
_FORWARDS = set("LRD")
_NOT_TAKEN_OVER = set("bcemBEIS")
_WITH_VALUE = set("bBcDeEFiIJlLmoOpPQRSwW")
_SHELL = set(";|&<>$`(){}*?!\\")
# A program that is not the login itself, or would put a password into the line.
_OTHER_PROGRAMS = {"sshpass", "scp", "sftp", "rsync", "mosh", "sudo"}
# What chat programs and word processors make of quotes and dashes.
_TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-"})


@dataclass(frozen=True, slots=True)
class SshLine:
    """What a login line says. `notes` are sentences on what in it was left aside."""

    endpoint: Endpoint
    identity_file: Path | None
    notes: tuple[str, ...]


def parse(line: str, *, config: Path | None = None) -> SshLine:
    """Read `ssh -p 38076 root@host`, `user@host:port`, `ssh://user@host:port`, or an alias of the person's ssh_config.

    What the line leaves open is as `ssh` would have it. `config` replaces the person's own configuration.
    Raises `BadSshLine`, saying what was read and how it should look.
    """
    said = _Said()
    try:
        _read(_words(line), said)
        return _together(said, config)
    except Unreadable as error:
        raise BadSshLine(
            f"this is no SSH login that gpubox understands: {error}",
            hint=f"it should look like `{_EXAMPLE}`",
        ) from error


@dataclass
class _Said:
    """What the line itself says."""

    target: Target | None = None
    user: str | None = None
    port: int | None = None
    host_name: str | None = None
    identity: str | None = None
    jump: str | None = None
    notes: list[str] = field(default_factory=list)


def _words(line: str) -> list[str]:
    text = unicodedata.normalize("NFKC", line).translate(_TYPOGRAPHY).strip()
    for mark in ("`", '"', "'"):
        if len(text) > 1 and text[0] == text[-1] == mark:
            text = text[1:-1].strip()
    for prompt in ("$ ", "# ", "> ", "% "):
        text = text.removeprefix(prompt).strip()
    if "\n" in text or "\r" in text:
        raise Unreadable("it has more than one line")
    if found := sorted(_SHELL & set(text)):
        raise Unreadable(f"it holds {' and '.join(found)}, which belongs to a shell; only the login itself is wanted")
    try:
        words = shlex.split(text)
    except ValueError:
        raise Unreadable("a quotation mark is not closed") from None
    if not words:
        raise Unreadable("it is empty")
    program = words[0].rsplit("/", 1)[-1].removesuffix(".exe")
    if program in _OTHER_PROGRAMS:
        raise Unreadable(f"it starts with `{program}`; a password is asked for when it is needed")
    return words[1:] if program == "ssh" else words


def _read(words: list[str], said: _Said) -> None:
    options = True
    rest = iter(words)
    for word in rest:
        if options and word == "--":
            options = False
        elif options and word.startswith("-"):
            _read_options(word[1:], rest, said)
        elif said.target is None:
            said.target = read_target(word)
        else:
            raise Unreadable(f"after the host comes the command `{word}`; only the login itself is wanted")


def _read_options(letters: str, rest: Iterator[str], said: _Said) -> None:
    """One word of options: letters without a value, then perhaps one with its value glued on or in the next word."""
    for place, letter in enumerate(letters, start=1):
        if letter in _WITH_VALUE:
            value = letters[place:] or next(rest, "")
            if not value:
                raise Unreadable(f"`-{letter}` has no value")
            _option(letter, value, said)
            return
        if letter not in _HARMLESS:
            raise Unreadable(f"the option `-{letter}` is not known")
    if not letters:
        raise Unreadable("a `-` stands alone")


def _option(letter: str, value: str, said: _Said) -> None:
    keyword = {"p": "port", "l": "user", "i": "identityfile", "J": "proxyjump"}.get(letter)
    if keyword:
        _keyword(keyword, value, said)
    elif letter == "o":
        name, _, text = value.replace("=", " ", 1).strip().partition(" ")
        if not text.strip():
            raise Unreadable(f"`-o {value}` has no value")
        _keyword(name, text.strip(), said)
    elif letter in _FORWARDS:
        said.notes.append(f"`-{letter} {value}` is left aside: `gpubox tunnel` opens what the box serves")
    elif letter in _NOT_TAKEN_OVER:
        said.notes.append(f"`-{letter} {value}` is left aside")
    else:
        raise Unreadable(f"the option `-{letter}` is not for logging in")


def _keyword(name: str, value: str, said: _Said) -> None:
    """One setting, by its name in ssh_config(5); the first value of each counts, as in OpenSSH."""
    match name.lower():
        case "port":
            said.port = _same("ports", said.port, read_port(value))
        case "user":
            said.user = _same("users", said.user, check_user(value))
        case "hostname":
            said.host_name = said.host_name or check_host(value)
        case "identityfile":
            said.identity = said.identity or value
        case "proxyjump":
            said.jump = said.jump or read_jump(value)
        case "proxycommand" | "remotecommand" | "localcommand" | "knownhostscommand":
            raise Unreadable(f"`{name}` runs a program; a jump host is written `-J user@host:port`")
        case "stricthostkeychecking" | "userknownhostsfile":
            said.notes.append(f"`{name}` is left aside: gpubox pins the box's host key itself")
        case _:
            said.notes.append(f"`{name}` is left aside")


def _same(what: str, one: _Value | None, other: _Value | None) -> _Value | None:
    """The one that was said, or that was said twice alike."""
    if one is not None and other is not None and one != other:
        raise Unreadable(f"it names two {what}, {one} and {other}")
    return one if one is not None else other


def _together(said: _Said, config: Path | None) -> SshLine:
    if said.target is None:
        raise Unreadable("it names no host")
    found = resolve(said.target.host, config)
    port = _same("ports", said.port, said.target.port) or (found.port if found else 22)
    user = _same("users", said.user, said.target.user) or (found.user if found else "root")
    identity = Path(said.identity).expanduser() if said.identity else (found.identity_file if found else None)
    if identity is not None and not identity.is_file():
        raise Unreadable(f"the key file `{identity}` does not exist")
    host = said.host_name or (found.host if found else said.target.host)
    jump = said.jump or (found.proxy_jump if found else None)
    return SshLine(Endpoint(host, port, user, jump), identity, tuple(said.notes))
