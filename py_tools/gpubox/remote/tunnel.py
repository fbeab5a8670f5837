"""Tunnels from ports of this machine to ports of boxes, held open by one small daemon per box.

The daemon runs OpenSSH, which moves 30 times more than fabric's forwards (docs/decisions/001-ssh-libraries.md), and
connects again by itself: after a killed connection at once, after a dead link within 15 s, on the same local ports.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpubox import errors, paths
from gpubox.errors import Failed, Unreachable
from gpubox.remote import ports, ssh_config, tunnel_files
from gpubox.remote.process import Process
from gpubox.remote.tunnel_files import Wanted, Wish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpubox.remote.login import Login

_LOOK_AGAIN = 0.05
_START_PATIENCE = 30.0
_STOP_PATIENCE = 8.0
_LOG_LIMIT = 1 << 20
# Daemons that this process started: kept so that they are no zombies, and no warning at exit.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine's 127.0.0.1 that leads to a port of the box's 127.0.0.1.

    `among`, of a wish: how many ports from `local_port` on may serve where that one is taken; None for any.
    `wanted_port`, of one that is open: what was asked for.
    """

    local_port: int
    remote_port: int
    label: str
    among: int | None = field(default=None, compare=False)
    wanted_port: int | None = field(default=None, compare=False)

    @property
    def url(self) -> str:
        """Where the forward is reached."""
        return f"http://127.0.0.1:{self.local_port}"


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """The forwards of one box, and how their connection was when this was read.

    `state` is connecting, connected, reconnecting or failed; `since` an ISO 8601 time in UTC.
    """

    name: str
    forwards: tuple[Forward, ...]
    state: str
    since: str
    reconnects: int
    last_error: str | None
    pid: int
    detached: bool

    def as_dict(self) -> dict[str, Any]:
        """The same for `--json`."""
        forwards = [
            {"label": f.label, "local_port": f.local_port, "remote_port": f.remote_port, "url": f.url}
            for f in self.forwards
        ]
        return {
            "name": self.name,
            "state": self.state,
            "since": self.since,
            "reconnects": self.reconnects,
            "last_error": self.last_error,
            "pid": self.pid,
            "detached": self.detached,
            "forwards": forwards,
        }

    def wait_connected(self, timeout: float) -> OpenTunnel:
        """Wait until the forwards lead to the box; the tunnel as it is then.

        One whose port another program took, since it was chosen or while the box was away, gets the next free one: a
        daemon that nobody waits for only tries again, as people may have noted the port. Raises `AuthFailed` or
        `HostKeyChanged` when the box refuses us, `Failed` when no port is free, `Unreachable` after `timeout` seconds.
        """
        directory = paths.box_dir(self.name)
        deadline = time.monotonic() + timeout
        while True:
            state = tunnel_files.read_state(directory)
            if state is not None and state.state == "failed":
                kind = getattr(errors, state.kind or "", Failed)
                raise kind(state.last_error or "the tunnel failed", where=self.name, hint=state.hint)
            if state is None or not state.daemon.alive():
                raise Failed("the tunnel was closed", where=self.name, hint=f"gpubox tunnel {self.name}")
            # A connection that has just died is the daemon's "connected" for some more milliseconds.
            there = state.state == "connected" and state.child is not None and state.child.alive()
            if there and (forwards := _as_open(self.forwards, state.forwards)) is not None:
                return replace(
                    self,
                    forwards=forwards,
                    state=state.state,
                    since=state.since,
                    reconnects=state.reconnects,
                    last_error=state.last_error,
                )
            if state.taken is not None:
                _move(directory, state.taken)
            if time.monotonic() > deadline:
                reason = f": {state.last_error}" if state.last_error else ""
                raise Unreachable(
                    f"the tunnel is not up after {timeout:g} s{reason}",
                    where=self.name,
                    hint="it goes on trying; `gpubox tunnel --list` shows how far it is",
                )
            time.sleep(_LOOK_AGAIN)


def open_tunnels(
    login: Login,
    forwards: Sequence[Forward],
    *,
    detach: bool,
    alive: tuple[int, int] = (ssh_config.ALIVE_INTERVAL, ssh_config.ALIVE_COUNT),
) -> OpenTunnel:
    """Have the daemon of this box hold these forwards open; the tunnel with them, in their order, not yet connected.

    A local port that is taken is replaced by the next free one. What is already open is left as it is. Without
    `detach` it all ends when every process that opened it has ended. `alive` is seconds between signs of life, and
    how many may go unanswered. Raises `Failed` when no port is free or the daemon does not start.
    """
    directory = paths.box_dir(login.name)
    with tunnel_files.lock():
        ssh_config.write(login)
        old = tunnel_files.read_wish(directory) if _running(directory) else None
        if old is None:
            _end(directory)
        wish = _merged(old, login, forwards, alive, detach=detach)
        if wish != old:
            tunnel_files.write(directory / tunnel_files.WISH, wish)
        if old is None:
            _spawn(login.name, directory)
    found = _read(directory)
    if found is None:
        raise Failed("the tunnel was closed while it was opened", where=login.name)
    asked = (_match(wish.forwards, forward) for forward in forwards)
    return replace(found, forwards=tuple(_forward(wanted) for wanted in asked if wanted is not None))


def list_tunnels(name: str | None = None) -> list[OpenTunnel]:
    """The tunnels that are open, of one box or of all, and those that failed."""
    directories = [paths.box_dir(name)] if name else tunnel_files.directories()
    return [tunnel for directory in directories if (tunnel := _read(directory)) is not None]


def stop_tunnels(name: str | None = None) -> list[OpenTunnel]:
    """End the tunnels of one box or of all, whoever opened them; what they were. No process is left behind."""
    with tunnel_files.lock():
        stopped = list_tunnels(name)
        for directory in [paths.box_dir(name)] if name else list(tunnel_files.directories()):
            _end(directory)
    return stopped


def _merged(
    old: Wish | None, login: Login, forwards: Sequence[Forward], alive: tuple[int, int], *, detach: bool
) -> Wish:
    kept = list(old.forwards) if old else []
    promised = _promised() | {wanted.local_port for wanted in kept}
    asked_for = {forward.local_port for forward in forwards}
    for forward in forwards:
        if _match(kept, forward) is None:
            # One whose port is taken does not take that of the next one.
            others = promised | asked_for - {forward.local_port}
            local_port = ports.next_free(forward.local_port, others, among=forward.among)
            promised.add(local_port)
            kept.append(Wanted(forward.local_port, local_port, forward.remote_port, forward.label, forward.among))
    owners = [owner for owner in (old.owners if old else ()) if owner.alive()]
    if not detach and Process.me() not in owners:
        owners.append(Process.me())
    return Wish(
        name=login.name,
        endpoint=login.endpoint,
        pinned=login.host_key,
        forwards=tuple(kept),
        alive=alive,
        detached=detach or (old is not None and old.detached),
        owners=tuple(owners),
    )


def _match(wanted: Sequence[Wanted], forward: Forward) -> Wanted | None:
    """The forward that already does what `forward` asks for."""
    return next(
        (
            have
            for have in wanted
            if have.remote_port == forward.remote_port and forward.local_port in (have.wanted_port, have.local_port)
        ),
        None,
    )


def _promised() -> set[int]:
    """The local ports of living tunnels: not bound while they reconnect, but their own."""
    states = (tunnel_files.read_state(directory) for directory in tunnel_files.directories())
    living = (state for state in states if state is not None and state.daemon.alive())
    return {wanted.local_port for state in living for wanted in state.forwards}


def _move(directory: Path, taken: int) -> None:
    """Give the forward at a port that another program has the next free one; the daemon sees it in its wish."""
    with tunnel_files.lock():
        wish = tunnel_files.read_wish(directory)
        if wish is None or all(wanted.local_port != taken for wanted in wish.forwards):
            return
        others = _promised() | {wanted.local_port for wanted in wish.forwards}
        forwards = tuple(
            replace(wanted, local_port=ports.next_free(wanted.wanted_port, others, among=wanted.among))
            if wanted.local_port == taken
            else wanted
            for wanted in wish.forwards
        )
        tunnel_files.write(directory / tunnel_files.WISH, replace(wish, forwards=forwards))


def _as_open(forwards: Sequence[Forward], there: Sequence[Wanted]) -> tuple[Forward, ...] | None:
    """The same forwards at the ports where they are now; None while one of them is missing."""
    found = {(wanted.wanted_port, wanted.remote_port): _forward(wanted) for wanted in there}
    now = [found.get((forward.wanted_port or forward.local_port, forward.remote_port)) for forward in forwards]
    return tuple(part for part in now if part is not None) if None not in now else None


def _running(directory: Path) -> bool:
    state = tunnel_files.read_state(directory)
    # A failed daemon is about to end.
    return state is not None and state.state != "failed" and state.daemon.alive()


def _spawn(name: str, directory: Path) -> None:
    log_file = directory / tunnel_files.LOG
    if log_file.exists() and log_file.stat().st_size > _LOG_LIMIT:
        log_file.unlink()
    with log_file.open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "gpubox.remote.tunnel_daemon", str(directory / tunnel_files.STATE)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    _started.append(daemon)
    deadline = time.monotonic() + _START_PATIENCE
    while tunnel_files.read_state(directory) is None:
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            raise Failed("the tunnel's process did not start", where=name, hint=f"its log is `{log_file}`")
        time.sleep(_LOOK_AGAIN)


def _end(directory: Path) -> None:
    """End the daemon of this directory and a child that outlived it; forget both."""
    state = tunnel_files.read_state(directory)
    if state is not None:
        state.daemon.end(_STOP_PATIENCE)
        if state.child is not None:
            state.child.end(_STOP_PATIENCE)
    tunnel_files.forget(directory)
    _started[:] = [daemon for daemon in _started if daemon.poll() is None]


def _read(directory: Path) -> OpenTunnel | None:
    state, wish = tunnel_files.read_state(directory), tunnel_files.read_wish(directory)
    if state is None or wish is None or not (state.daemon.alive() or state.state == "failed"):
        return None
    return OpenTunnel(
        name=wish.name,
        forwards=tuple(_forward(wanted) for wanted in wish.forwards),
        state=state.state,
        since=state.since,
        reconnects=state.reconnects,
        last_error=state.last_error,
        pid=state.daemon.pid,
        detached=wish.detached,
    )


def _forward(wanted: Wanted) -> Forward:
    return Forward(wanted.local_port, wanted.remote_port, wanted.label, wanted.among, wanted.wanted_port)
