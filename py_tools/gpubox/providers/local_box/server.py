"""The SSH server of a local box: loopback only, one user, password or key, everything below the scratch HOME."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hmac
import logging
import os
import signal
from typing import TYPE_CHECKING

import asyncssh
import psutil

from gpubox.errors import Failed
from gpubox.providers.local_box.layout import BoxDir, Identity, Running, write_private
from gpubox.providers.local_box.session import serve_session
from gpubox.providers.local_box.sftp import Sftp

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Session = Callable[[asyncssh.SSHServerProcess[bytes]], Coroutine[None, None, None]]

HOST = "127.0.0.1"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_KEEPALIVE_S = 15
_STILL_THERE_S = 10

log = logging.getLogger(__name__)


async def serve(box: BoxDir, ready: Callable[[Running], None]) -> None:
    """Serve the box until SIGTERM or SIGINT, or until its directory is gone; `ready` is called once it listens.

    Raises `Failed` when the box's files are missing, no port is free, or a server of this box is already there.
    """
    identity = box.identity()
    if identity is None:
        raise Failed("there is no local box in this directory", where=str(box.path))
    environment = box.environment()
    _lock(box)
    os.chdir(box.home)
    ended = asyncio.Event()
    # Also resets the children: one started by a shell's `&` would ignore SIGINT and hand that on to every session,
    # whereas a signal with a handler is back at its default after exec.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])

    async def session(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await serve_session(process, environment, str(box.home))

    host_key = _host_key(box)
    acceptor = await _listen(box, identity, host_key, session)
    running = Running(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        port=acceptor.get_port(),
        host_key=" ".join(host_key.export_public_key().decode().split()[:2]),
    )
    write_private(box.running_file, running.model_dump_json())
    ready(running)
    watching = asyncio.create_task(_watch(box, ended))
    await ended.wait()
    watching.cancel()
    acceptor.close()


class Gate(asyncssh.SSHServer):
    """Who may come in, and what may be forwarded."""

    def __init__(self, box: BoxDir, identity: Identity) -> None:
        self._box = box
        self._identity = identity
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Keys are read at every login: one that was just installed must work at the next."""
        keys = self._box.authorized_keys
        if username == self._identity.user and self._connection is not None and keys.exists():
            try:
                self._connection.set_authorized_keys(str(keys))
            except (OSError, ValueError) as error:
                log.warning("no key of %s is accepted: %s", keys, error)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        right = hmac.compare_digest(password.encode(), self._identity.password.encode())
        return right and username == self._identity.user

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """`-R` opens ports on loopback only: a local box must not be what opens this machine to the network."""
        return listen_host in _LOOPBACK

    def unix_server_requested(self, listen_path: str) -> bool:
        return True


def _host_key(box: BoxDir) -> asyncssh.SSHKey:
    """The box's own ed25519 host key, made at its first start."""
    if not box.host_key_file.exists():
        made = asyncssh.generate_private_key("ssh-ed25519")
        write_private(box.host_key_file, made.export_private_key().decode())
    return asyncssh.read_private_key(str(box.host_key_file))


async def _listen(box: BoxDir, identity: Identity, host_key: asyncssh.SSHKey, session: Session) -> asyncssh.SSHAcceptor:
    """Listen on the port of the last start where it is still free, so that pinned addresses stay right."""
    before = box.running()
    ports = [before.port, 0] if before is not None else [0]
    for port in ports:
        try:
            return await asyncssh.create_server(
                lambda: Gate(box, identity),
                HOST,
                port,
                server_host_keys=[host_key],
                process_factory=session,
                sftp_factory=Sftp,
                allow_scp=True,
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
                keepalive_interval=_KEEPALIVE_S,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port:
                continue
            raise Failed(
                f"the local box cannot listen on {HOST}: {error.strerror}",
                where=str(box.path),
                hint="see which programs hold ports with `ss -tlnp` (macOS: `lsof -nP -iTCP -sTCP:LISTEN`)",
            ) from error
    raise AssertionError("port 0 either works or raises")


def _lock(box: BoxDir) -> None:
    """One server for a box, for as long as this process lives: the descriptor stays open on purpose."""
    descriptor = os.open(box.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Failed("a server of this local box is already starting", where=str(box.path), hint="try again") from error


async def _watch(box: BoxDir, ended: asyncio.Event) -> None:
    """A server whose directory was deleted by hand serves nobody and ends."""
    while box.identity_file.exists():
        await asyncio.sleep(_STILL_THERE_S)
    log.warning("%s is gone: the server ends", box.path)
    ended.set()
