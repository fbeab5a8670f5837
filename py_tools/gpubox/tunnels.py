"""`gpubox tunnel`: the ports of a box's services on this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpubox import snapshots, web_ui_engines
from gpubox.boxfile.web_ui import LOCAL_PORTS
from gpubox.converge.variables.open_webui import surviving
from gpubox.errors import Failed
from gpubox.ledger import Ledger
from gpubox.places import box_of
from gpubox.remote.login import Login
from gpubox.remote.tunnel import Forward, OpenTunnel, list_tunnels, open_tunnels, stop_tunnels
from gpubox.status import converged, engine, status

if TYPE_CHECKING:
    from collections.abc import Callable

# The service of the web UI, on every box.
WEB_UI = "open-webui"
# How long the first connection may take before the person hears why it does not come, in seconds.
_PATIENCE = 30.0


def forwards_of(name: str, answer: dict[str, Any]) -> list[Forward]:
    """What is worth a tunnel: the port of every service in the status `answer`, and `tunnels` of the box file."""
    forwards = [
        Forward(
            local_port=int(item["port"]),
            remote_port=int(item["port"]),
            label=str(item["name"]),
            # At another port its page would come, and no answer ever: `open_webui_local_ports`.
            among=LOCAL_PORTS if item["name"] == WEB_UI else None,
        )
        for item in answer["services"]
        if item.get("port")
    ]
    member, serving = web_ui_engines.member(name), engine(answer)
    if member is not None and member.port and serving is not None and not _is_here(name):
        # Where the web UI on this machine has known it so far.
        at = member.port
        forwards = [replace(part, local_port=at) if part.label == serving["name"] else part for part in forwards]
    box = box_of(name)
    for extra in box.tunnels if box is not None else ():
        local_port = extra.local or extra.remote
        forwards.append(Forward(local_port=local_port, remote_port=extra.remote, label=f"port {extra.remote}"))
    return forwards


def url_of(forward: Forward) -> str:
    """Where a person reaches the forward: `http://localhost:3000` for the web UI, by 127.0.0.1 everything else."""
    return f"http://localhost:{forward.local_port}" if forward.label == WEB_UI else forward.url


def open_for(
    name: str, *, detach: bool, say: Callable[[str], None], answer: dict[str, Any] | None = None
) -> OpenTunnel:
    """Open a tunnel to everything of `forwards_of`; `say` hears where each one is.

    Raises `Failed` when there is nothing to lead to, and what the link raises.
    """
    forwards = forwards_of(name, answer or status(name))
    if not forwards:
        raise Failed(
            "no service of this box has a port",
            where=name,
            hint=f"set `engine:` or `tunnels:` in its box file, then `gpubox up {name}`",
        )
    # A box on this machine listens here itself; a second listener would only have another port.
    direct = [forward for forward in forwards if forward.local_port == forward.remote_port and _is_here(name)]
    far = [forward for forward in forwards if forward not in direct]
    if far:
        tunnel = open_tunnels(Login.of(converged(name)), far, detach=detach).wait_connected(_PATIENCE)
        _take_snapshots(name, say)
    else:
        tunnel = _no_tunnel(name, detach=detach)
    opened = dict(zip(far, tunnel.forwards, strict=True)) | {forward: forward for forward in direct}
    for wish in forwards:
        forward = opened[wish]
        taken = f" (port {wish.local_port} is taken here)" if forward.local_port != wish.local_port else ""
        say(f"{forward.label}: {url_of(forward)}{taken}")
    return replace(tunnel, forwards=tuple(opened[wish] for wish in forwards))


def how_long(tunnel: OpenTunnel) -> str:
    """How long a tunnel that was opened with `detach` is there, for a person."""
    own = tunnel.pid == os.getpid()
    return "none is needed: the box is on this machine" if own else "they stay open in the background"


def listed(name: str | None = None) -> list[OpenTunnel]:
    """The open tunnels of one box, or of all. Raises `UnknownBox`."""
    _known(name)
    return list_tunnels(name)


def stopped(name: str | None = None) -> list[OpenTunnel]:
    """Close the tunnels of one box, or of all; what they were. Raises `UnknownBox`."""
    _known(name)
    snapshots.end(name)
    return stop_tunnels(name)


def engine_url(tunnel: OpenTunnel, answer: dict[str, Any]) -> str:
    """The base URL of the engine's API on this machine, `http://127.0.0.1:<port>/v1`."""
    service = engine(answer)
    if service is None:
        raise Failed("no engine runs on this box", where=str(answer.get("name")), hint="set `engine:` in the box file")
    port = next(forward.local_port for forward in tunnel.forwards if forward.label == service["name"])
    return f"http://127.0.0.1:{port}/v1"


def _take_snapshots(name: str, say: Callable[[str], None]) -> None:
    """Have the chats copied to this machine for as long as the tunnel is open, when the box file wants that."""
    box = box_of(name)
    ui = box.web_ui_settings if box is not None else None
    if box is None or ui is None or ui.on != "box" or ui.snapshots is None:
        return
    snapshots.begin(name)
    to = surviving(box, ui)
    away = (
        f"else in {to} on the box" if to else "else nowhere: no disk that outlives this box is known (`snapshots.to`)"
    )
    say(f"snapshots of the chats every {ui.snapshots.every}: in {snapshots.below() / name} while this is open, {away}")


def _is_here(name: str) -> bool:
    """Whether the ports of the box are those of this machine."""
    with Ledger() as ledger:
        return ledger.get(name).provider == "local"


def _no_tunnel(name: str, *, detach: bool) -> OpenTunnel:
    """What stands for a tunnel where none is needed."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return OpenTunnel(
        name=name, forwards=(), state="connected", since=now, reconnects=0, last_error=None, pid=os.getpid(),
        detached=detach,
    )  # fmt: skip


def _known(name: str | None) -> None:
    if name is not None:
        with Ledger() as ledger:
            ledger.get(name)
