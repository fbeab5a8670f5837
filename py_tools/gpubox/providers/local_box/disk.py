"""Makes and removes the directory of a local box."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.errors import Failed
from gpubox.providers.local_box import pip_config
from gpubox.providers.local_box.environment import session_environment
from gpubox.providers.local_box.layout import BoxDir, Identity, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping


def prepare(box: BoxDir, name: str, caller: Mapping[str, str]) -> Identity:
    """Make what is missing in the box's directory and write what follows from the caller's environment anew.

    Idempotent, also after having been killed half-way. Raises `Failed` when the disk is full or not writable.
    """
    try:
        for directory in (box.path, box.home, box.tmp, box.home / ".ssh", box.home / ".config" / "pip"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = box.identity()
        if identity is None:
            identity = Identity(name=name)
            write_private(box.identity_file, identity.model_dump_json())
        _link_tmp(box)
        environment = session_environment(box, caller, user=identity.user, shell=_shell())
        write_private(box.environment_file, json.dumps(environment, indent=1, sort_keys=True))
        _write_profile(box, environment["PATH"])
        _copy_package_indexes(box, caller)
    except OSError as error:
        raise Failed(
            f"the local box `{name}` cannot be made: {error.strerror}",
            where=str(error.filename or box.path),
            hint="make room there, or set `GPUBOX_HOME` to a directory with room that you can write to",
        ) from error
    return identity


def remove(box: BoxDir) -> None:
    """Remove the directory of the box, read-only parts too. Raises `Failed` when something of it is left."""
    try:
        if box.tmp_link.is_symlink() and box.tmp_link.readlink() == box.tmp:
            box.tmp_link.unlink()
        for directory, below, _ in os.walk(box.path):
            os.chmod(directory, 0o700)  # noqa: PTH101  (a name that is no UTF-8 stays what it is)
            for name in below:
                path = os.path.join(directory, name)  # noqa: PTH118
                if not os.path.islink(path):  # noqa: PTH114
                    os.chmod(path, 0o700)  # noqa: PTH101
        shutil.rmtree(box.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _left(box, f"{error.strerror}: `{error.filename}`") from error
    if box.path.exists():
        raise _left(box, "something in it came back while it was removed")


def _shell() -> str:
    return shutil.which("bash", path="/bin:/usr/bin:/usr/local/bin") or "/bin/sh"


def _link_tmp(box: BoxDir) -> None:
    if box.short_tmp == box.tmp:
        return
    try:
        box.tmp_link.symlink_to(box.tmp)
    except FileExistsError:
        if not box.tmp_link.is_symlink() or box.tmp_link.readlink() != box.tmp:
            raise


def _write_profile(box: BoxDir, path: str) -> None:
    """A login shell reads /etc/profile, which sets PATH anew: put ours back."""
    profile = box.home / ".profile"
    if not profile.exists():
        profile.write_text(f"export PATH={shlex.quote(path)}\n", encoding="utf-8")


def _copy_package_indexes(box: BoxDir, caller: Mapping[str, str]) -> None:
    """The person's pip and uv configuration, for both may hold a password with mode 0600."""
    write_private(box.home / ".config" / "pip" / "pip.conf", pip_config.render(pip_config.own_configuration(caller)))
    config = Path(caller.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    if config.is_file():
        (box.home / ".config" / "uv").mkdir(exist_ok=True, mode=0o700)
        write_private(box.home / ".config" / "uv" / "uv.toml", config.read_text(encoding="utf-8"))


def _left(box: BoxDir, why: str) -> Failed:
    return Failed(
        f"the directory of the local box was not wholly removed: {why}",
        where=str(box.path),
        hint=f"take it down again: `gpubox down {box.path.name}`",
    )
