"""The records of a run on their way home, each as the client on the box has written it."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from typing import TYPE_CHECKING, Any

from gpubox.backups import refuse_escape
from gpubox.errors import TransferFailed
from gpubox.remote.host import Host
from gpubox.remote.transfer_fetch import Fetch
from gpubox.remote.transfer_item import Item, cannot_write

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.remote.login import Login

# Some MiB: one connection is enough (`Fetch` has one less than it is told).
_CONNECTIONS = 2
_PARTS = ".parts"


def bring_home(login: Login, root: str, remote: str, place: Path) -> None:
    """Copy the run in the box's directory `remote` to `place`, each record verified by the SHA-256 in its manifest.

    `root`: of gpubox on the box. The manifest comes last. Raises `RemoteCommandFailed` for a run without one,
    `TransferFailed` naming what is not as the client has written it or cannot be written here, and what `Session`
    raises.
    """
    with Host(login) as host:
        text = host.run(f"cat {shlex.quote(remote)}/manifest.json", retry=True).stdout
    items = [_item(login.name, entry, remote, place) for entry in json.loads(text)["levels"]]
    try:
        (place / _PARTS).mkdir(parents=True, exist_ok=True)
        with Fetch(login, root, lambda _: None, connections=_CONNECTIONS) as fetch:
            fetch.add(items)
            fetch.finish()
        shutil.rmtree(place / _PARTS)
        bad = [f"{item.source}: {item.reason or item.state}" for item in items if item.state != "home"]
        if bad:
            raise TransferFailed(
                "\n".join(["not every record is as it was written:", *(f"  {line}" for line in bad)]),
                where=login.name,
                hint=f"measure again: `gpubox bench {login.name}`",
            )
        (place / "manifest.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(login.name, place / "_", error) from error


def _item(name: str, entry: dict[str, Any], remote: str, place: Path) -> Item:
    file = str(entry["file"])
    refuse_escape(name, file)
    part = place / _PARTS / file.replace("/", "_")
    return Item(
        f"{remote}/{file}", f"{place}/{file}", part, int(entry["size"]), time.time_ns(), sha256=str(entry["sha256"])
    )
