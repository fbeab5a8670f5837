"""Opening one SSH connection: socket, host key, login, each with its own timeout and its own sentence.

fabric and paramiko take 0.15 CPU seconds to import, so they are imported where a connection is opened.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

from gpubox.errors import GpuboxError, Unreachable
from gpubox.remote import explain
from gpubox.remote.jump import JumpSocket, jump
from gpubox.remote.liveness import SILENCE, watch_liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fabric import Connection
    from paramiko import MissingHostKeyPolicy, PKey, Transport

    from gpubox.remote.login import Endpoint

# sshd drops logins at random while scanners hold its slots (MaxStartups): try again after so many seconds.
RETRY_AFTER = (0.3, 0.7, 1.5, 3.0)


class _Dropped(GpuboxError):
    """The server closed the connection before it spoke, or in the middle of the key exchange: worth another try."""


def open_connection(
    name: str,
    endpoint: Endpoint,
    *,
    check: Callable[[str], None],
    auth: Mapping[str, Any],
    tried: str,
    prefer: str | None = None,
    timeout: float = 15.0,
    retry: bool = True,
) -> Connection:
    """Connect and log in.

    `check` gets the host key (`TYPE BASE64`) before anything of ours is sent and raises when it is wrong; `auth` is
    what `paramiko.SSHClient.connect` takes for logging in, `tried` the same in words; `prefer` is the type of host
    key to ask for; `timeout` in seconds holds for the TCP connect, the greeting and the login each;
    `retry`: a connection that the server drops before the login is done is tried again.
    Raises `Unreachable`, `AuthFailed` and what `check` raises.
    """
    for pause in (*(RETRY_AFTER if retry else ()), None):
        try:
            return _attempt(name, endpoint, check=check, auth=auth, tried=tried, prefer=prefer, timeout=timeout)
        except _Dropped as dropped:
            if pause is None:
                raise explain.no_ssh_there(name, endpoint, dropped.message) from dropped
            time.sleep(pause)
    raise AssertionError  # The last pause is None: the loop always returns or raises.


def with_key(identity_file: Path) -> dict[str, Any]:
    """The `auth` of a login by this private key and nothing else."""
    return {"key_filename": str(identity_file), "allow_agent": False, "look_for_keys": False}


def _attempt(
    name: str,
    endpoint: Endpoint,
    *,
    check: Callable[[str], None],
    auth: Mapping[str, Any],
    tried: str,
    prefer: str | None,
    timeout: float,
) -> Connection:
    import fabric
    import paramiko

    # Without a handler, logging prints paramiko's tracebacks on stderr.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    with contextlib.ExitStack() as on_failure:
        sock = jump(endpoint) if endpoint.proxy_jump else _tcp(name, endpoint, timeout)
        on_failure.callback(sock.close)
        connection = fabric.Connection(
            endpoint.host,
            user=endpoint.user,
            port=endpoint.port,
            # Lazy: neither the person's fabric.yml nor their ssh_config has a say in this.
            config=fabric.Config(lazy=True),
            # Of the greeting and the key exchange together; later than `banner_timeout`, whose sentence says more.
            connect_timeout=int(2 * timeout) + 1,
            connect_kwargs={
                "sock": sock,
                "banner_timeout": timeout,
                "auth_timeout": timeout,
                "channel_timeout": timeout,
                "transport_factory": lambda sock, **options: _transport(sock, prefer, options),
                **auth,
            },
        )
        on_failure.callback(connection.client.close)
        connection.client.set_missing_host_key_policy(_policy(check))
        try:
            connection.open()
        except paramiko.AuthenticationException as error:
            raise _not_let_in(name, endpoint, tried, connection, error, timeout) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if isinstance(sock, JumpSocket):
                raise _jump_failed(name, endpoint, sock, error) from error
            raise _spoken(name, endpoint, error, timeout) from error
        on_failure.pop_all()
    return connection


def _tcp(name: str, endpoint: Endpoint, timeout: float) -> socket.socket:
    try:
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout)
    except socket.gaierror as error:
        raise explain.no_such_host(name, endpoint) from error
    except ConnectionRefusedError as error:
        raise explain.refused(name, endpoint) from error
    except ConnectionResetError as error:
        raise _Dropped("the connection was reset") from error
    except TimeoutError as error:
        raise explain.host_down(name, endpoint, seconds=timeout) from error
    except OSError as error:
        raise explain.host_down(name, endpoint, reason=error.strerror or str(error)) from error
    # Without it each small command waits 40 ms for the other side's delayed acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A writer that is stuck in the kernel's full buffer would never get to the keepalive.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE * 1000))
    return sock


def _jump_failed(name: str, endpoint: Endpoint, sock: JumpSocket, error: Exception) -> Unreachable:
    return Unreachable(
        f"cannot reach {endpoint.host} port {endpoint.port} through `{endpoint.proxy_jump}`: "
        f"{sock.last_words() or error}",
        where=name,
        hint=f"`ssh {endpoint.proxy_jump}` has to work first, without a question",
    )


def _not_let_in(
    name: str, endpoint: Endpoint, tried: str, connection: Connection, error: Exception, timeout: float
) -> GpuboxError:
    """paramiko calls everything that happens during the login a failed login, a cut cable included."""
    if "timeout" in str(error).lower():
        return explain.no_ssh_there(name, endpoint, f"no answer to the login within {timeout:g} s")
    transport = connection.client.get_transport()
    if transport is None or not transport.is_active():
        return _Dropped("it closed the connection in the middle of the login")
    return explain.auth_failed(name, endpoint, tried)


def _spoken(name: str, endpoint: Endpoint, error: Exception, timeout: float) -> GpuboxError:
    """What a failure after the TCP connect means."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
        return explain.host_down(name, endpoint, seconds=timeout)
    if isinstance(error, (EOFError, ConnectionError)) or "banner" in text or "Negotiation failed" in text:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, TimeoutError) or "timed out" in text.lower():
            return explain.no_ssh_there(name, endpoint, f"no greeting within {timeout:g} s")
        return _Dropped("it closed the connection before the login")
    if "No existing session" in text or "imeout" in text:
        return explain.no_ssh_there(name, endpoint, f"no answer within {timeout:g} s")
    return explain.no_ssh_there(name, endpoint, text)


def _policy(check: Callable[[str], None]) -> MissingHostKeyPolicy:
    import paramiko

    class Pinned(paramiko.MissingHostKeyPolicy):
        """Asks `check` about every host key; nothing else, and no file, can let one pass."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: PKey) -> None:
            check(f"{key.get_name()} {key.get_base64()}")

    return Pinned()


def _transport(sock: socket.socket, prefer: str | None, options: dict[str, Any]) -> Transport:
    import paramiko

    transport = paramiko.Transport(sock, **options)
    if prefer is not None:
        security = transport.get_security_options()
        wanted = ("rsa-sha2-512", "rsa-sha2-256") if prefer == "ssh-rsa" else (prefer,)
        known = [kind for kind in wanted if kind in security.key_types]
        security.key_types = [*known, *(kind for kind in security.key_types if kind not in known)]
    watch_liveness(transport)
    return transport
