"""The OpenSSH configuration of one box, for the `ssh` children that do tunnels, bulk copies and interactive shells."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.remote.jump import jump_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubox.remote.login import Login

# OpenSSH gives up after (count + 1) * interval seconds without an answer (measured: 5 s x 3 took 19.3 s): 12 s.
ALIVE_INTERVAL = 3
ALIVE_COUNT = 3


def alias(name: str) -> str:
    """The name of a box in its OpenSSH files."""
    return f"gpubox-{name}"


def write(login: Login) -> Path:
    """Write `known_hosts` and `ssh_config` into the box's directory and return the latter's path.

    A running tunnel reads it again at every reconnect, so a new address of the box reaches it, too.
    """
    directory = paths.box_dir(login.name)
    known_hosts = directory / "known_hosts"
    _replace(known_hosts, f"{alias(login.name)} {login.host_key}\n")
    config = directory / "ssh_config"
    _replace(config, _text(login, known_hosts))
    return config


def ssh_argv(login: Login, *command: str, options: Sequence[str] = (), batch: bool = False) -> list[str]:
    """`ssh` with the box's own configuration: a shell, or `command` there. `batch`: never asks a person anything."""
    asking = ["-o", "BatchMode=yes"] if batch else []
    return ["ssh", "-F", str(write(login)), *asking, *options, alias(login.name), *command]


def _text(login: Login, known_hosts: Path) -> str:
    endpoint = login.endpoint
    settings = {
        "HostName": endpoint.host,
        "Port": str(endpoint.port),
        "User": endpoint.user,
        "IdentityFile": _quoted(login.identity_file),
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",
        "HostKeyAlias": alias(login.name),
        "UserKnownHostsFile": _quoted(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        # A server must not add keys to what we pinned.
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ServerAliveInterval": str(ALIVE_INTERVAL),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ConnectTimeout": "10",
        "ForwardAgent": "no",
    }
    if endpoint.proxy_jump:
        # No `ProxyJump`: it would read this file for the jump host, where the person's own settings are missing.
        settings["ProxyCommand"] = jump_command(endpoint)
    lines = [f"    {key} {value}" for key, value in settings.items()]
    return "\n".join([f"# Written by gpubox for the box {login.name}.", f"Host {alias(login.name)}", *lines, ""])


def _quoted(path: Path) -> str:
    text = str(path).replace("%", "%%")
    return f'"{text}"'


def _replace(path: Path, text: str) -> None:
    """Write `path` at once and whole, 0600; not at all when it already says so."""
    if path.exists() and path.read_text() == text:
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(temporary).replace(path)
