"""`gpubox tunnel`: the ports of a box's services on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.errors import Failed
from gpubox.places import box_of
from gpubox.remote.login import Login
from gpubox.remote.tunnel import Forward, OpenTunnel, open_tunnels
from gpubox.status import converged, engine, status

if TYPE_CHECKING:
    from collections.abc import Callable


def open_for(
    name: str, *, detach: bool, say: Callable[[str], None], answer: dict[str, Any] | None = None
) -> OpenTunnel:
    """Open a tunnel to every service port of the box and to `tunnels` of its box file; `say` hears where each one is.

    Raises `Failed` when no service of the box has a port, and what the link raises.
    """
    answer = answer or status(name)
    forwards = [
        Forward(local_port=int(item["port"]), remote_port=int(item["port"]), label=str(item["name"]))
        for item in answer["services"]
        if item.get("port")
    ]
    box = box_of(name)
    for extra in box.tunnels if box is not None else ():
        local_port = extra.local or extra.remote
        forwards.append(Forward(local_port=local_port, remote_port=extra.remote, label=f"port {extra.remote}"))
    if not forwards:
        raise Failed("no service of this box has a port", where=name, hint=f"gpubox up {name}")
    tunnel = open_tunnels(Login.of(converged(name)), forwards, detach=detach)
    tunnel.wait_connected(30.0)
    for wish, forward in zip(forwards, tunnel.forwards, strict=True):
        taken = f" (port {wish.local_port} is taken here)" if forward.local_port != wish.local_port else ""
        say(f"{forward.label}: http://127.0.0.1:{forward.local_port}{taken}")
    return tunnel


def engine_url(tunnel: OpenTunnel, answer: dict[str, Any]) -> str:
    """The base URL of the engine's API on this machine, `http://127.0.0.1:<port>/v1`."""
    service = engine(answer)
    if service is None:
        raise Failed("no engine runs on this box", where=str(answer.get("name")), hint="set `engine:` in the box file")
    port = next(forward.local_port for forward in tunnel.forwards if forward.label == service["name"])
    return f"http://127.0.0.1:{port}/v1"
