"""What the person's own OpenSSH configuration says about a host or an alias."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from gpubox.remote.sshline_target import Unreadable, read_jump, read_port

# `ssh -G` lists these where nothing was configured.
_DEFAULT_IDENTITIES = {f"id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa")}


@dataclass(frozen=True, slots=True)
class Resolved:
    """HostName, Port, User, IdentityFile and ProxyJump that OpenSSH would use."""

    host: str
    port: int
    user: str
    identity_file: Path | None
    proxy_jump: str | None


def resolve(host: str, config: Path | None) -> Resolved | None:
    """Ask `ssh -G`; None where there is no OpenSSH. `config` replaces the person's own file. Raises `Unreadable`."""
    chosen = ["-F", str(config)] if config else []
    try:
        answer = subprocess.run(
            ["ssh", "-G", *chosen, "--", host], capture_output=True, text=True, timeout=20, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines()
        raise Unreadable(f"`ssh -G {host}` says: {said[-1] if said else 'nothing'}")
    settings: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key, []).append(value)
    if settings.get("proxycommand", ["none"])[0] != "none":
        raise Unreadable(f"your ssh configuration reaches `{host}` by a ProxyCommand; a `ProxyJump` can be taken over")
    return Resolved(
        host=settings["hostname"][0],
        port=read_port(settings["port"][0]),
        user=settings["user"][0],
        identity_file=_identity(settings.get("identityfile", [])),
        proxy_jump=read_jump(settings.get("proxyjump", ["none"])[0]),
    )


def _identity(names: list[str]) -> Path | None:
    paths = [Path(name).expanduser() for name in names]
    return next((path for path in paths if path.name not in _DEFAULT_IDENTITIES or path.parent.name != ".ssh"), None)
