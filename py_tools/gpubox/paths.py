"""Where gpubox keeps its things on this machine, and where its playbooks and roles lie."""

from __future__ import annotations

import os
from pathlib import Path

from gpubox.errors import Failed

_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """Directory of the ledger, keys and known hosts, 0700, made if missing.

    `$GPUBOX_HOME`, else `$XDG_DATA_HOME/gpubox`, else `~/.local/share/gpubox`.

    Raises `Failed` when it cannot be made or written, naming the variable to set.
    """
    return _private(_chosen("GPUBOX_HOME", "XDG_DATA_HOME", ".local/share"), "GPUBOX_HOME")


def cache_dir() -> Path:
    """Directory of what can be made again: `$GPUBOX_CACHE`, else `$XDG_CACHE_HOME/gpubox`, made if missing."""
    return _private(_chosen("GPUBOX_CACHE", "XDG_CACHE_HOME", ".cache"), "GPUBOX_CACHE")


def box_dir(name: str) -> Path:
    """Directory of one box's things on this machine (known_hosts, ssh_config, tunnels), 0700, made if missing."""
    return _private(data_dir() / "boxes" / name, "GPUBOX_HOME")


def content() -> Path:
    """Directory with `playbooks/`, `roles/`, `templates/`, `inventories/`: the checkout, else the wheel's copy."""
    checkout = _PACKAGE.parent.parent
    if (checkout / "playbooks").is_dir() and (checkout / "roles").is_dir():
        return checkout
    return _PACKAGE / "_content"


def _chosen(own: str, xdg: str, fallback: str) -> Path:
    if value := os.environ.get(own):
        return Path(value).expanduser().absolute()
    if value := os.environ.get(xdg):
        return Path(value).expanduser().absolute() / "gpubox"
    return Path.home() / fallback / "gpubox"


def _private(path: Path, variable: str) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failed(
            f"cannot make the directory `{path}`: {error.strerror}",
            hint=f"set `{variable}` to a directory that you can write to",
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Failed(f"cannot write to `{path}`", hint=f"set `{variable}` to a directory that you can write to")
    return path
