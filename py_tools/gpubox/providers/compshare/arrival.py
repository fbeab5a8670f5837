"""A box that was rented or powered on, awaited until it can be logged in to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gpubox.errors import Failed, Unreachable
from gpubox.providers.clock import pauses
from gpubox.providers.compshare import hosts
from gpubox.providers.compshare.changes import DOWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpubox.providers.clock import Clock
    from gpubox.providers.compshare.account import Account
    from gpubox.remote.login import Endpoint

LIST_SECONDS = 120.0  # how long after its making the list may be without a box
_ARRIVAL_SECONDS = 1200.0
_OFF_SECONDS = 60.0  # how long a box may still be shown as powered off after it was powered on
_GREETING_SECONDS = 8.0


def arrived(
    account: Account, clock: Clock, ref: str, say: Callable[[str], None], made_at: datetime | None
) -> tuple[hosts.Host, Endpoint]:
    """The box and its login, when an SSH server greets there.

    `made_at`: when this process rented it. Raises `Failed` for one that is gone, off, or whose image failed, and
    `Unreachable` after 20 minutes.
    """
    for waited in pauses(clock, _ARRIVAL_SECONDS):
        host = account.host(ref)
        if host is None:
            if made_at is None or (clock.now() - made_at).total_seconds() > LIST_SECONDS:
                raise Failed("CompShare's list does not have this box", where=ref, hint=DOWN)
            say("until CompShare's list shows it")
            continue
        _check(host, waited)
        endpoint = hosts.endpoint(host) if host.state == "running" else None
        if endpoint is not None and greets(endpoint.host, endpoint.port):
            return host, endpoint
        say(_waits_for(host, endpoint))
    raise Unreachable(
        f"the box cannot be logged in to after {_ARRIVAL_SECONDS / 60:.0f} minutes; it bills",
        where=ref,
        hint="`gpubox up NAME` waits again, `gpubox down NAME` releases it",
    )


def greets(host: str, port: int) -> bool:
    """Whether an SSH server says so. A port that is open and silent is a gateway without a box behind it."""
    try:
        with socket.create_connection((host, port), timeout=_GREETING_SECONDS) as connection:
            return connection.makefile("rb").read(4) == b"SSH-"
    except OSError:
        return False


def _check(host: hosts.Host, waited: float) -> None:
    if host.said == hosts.INSTALL_FAILED:
        raise Failed(
            "CompShare could not install the image on this box",
            where=host.ref,
            hint="`gpubox down NAME` releases it; then choose another `compshare.image`",
        )
    if host.state == "stopped" and waited > _OFF_SECONDS:
        raise Failed("the box is powered off", where=host.ref, hint="gpubox start NAME")


def _waits_for(host: hosts.Host, endpoint: Endpoint | None) -> str:
    if host.state != "running":
        return f"CompShare says: {host.said or 'state unknown'}"
    return "its SSH server" if endpoint else "its login line"
