"""Between two boxes: directly where the new one reaches the old one, else through this machine."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox.errors import GpuboxError, LinkLost
from gpubox.model_copy.receiver import NoWay
from gpubox.model_copy.serving import key_line, serve_script
from gpubox.remote.host import Host
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.model_copy.receiver import Receiver
    from gpubox.remote.login import Login

_CONNECTIONS = 4
# Pauses between tries that bring nothing at all; whatever arrives begins the count anew.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_PIECE = 1 << 18
_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=10")

# POSIX sh: the lines that end in this comment go, whoever else writes there keeps the rest.
_TAKE_AWAY = """
cd "$HOME/.ssh" 2>/dev/null || exit 0
[ -e authorized_keys ] || exit 0
grep -q "$mark" authorized_keys || exit 0
umask 077
grep -v "$mark" authorized_keys > .gpubox-keys
cat .gpubox-keys > authorized_keys && rm -f .gpubox-keys
"""
_EXPIRY = "date -d '+1 day' +%Y%m%d%H%M"


@dataclass(frozen=True, slots=True)
class Ends:
    """The box that has the model in `directory`, and the one that gets it."""

    source: Login
    directory: str
    receiver: Receiver


def copy(ends: Ends, files: list[dict[str, Any]], on_bytes: Callable[[int], None]) -> str:
    """Copy these from one box to the other; "directly" or "through this machine", by what was possible.

    Raises `TransferFailed`, `Unreachable` and what the links raise.
    """
    if ends.source.endpoint.proxy_jump is None:
        with contextlib.suppress(NoWay):
            _directly(ends, files, on_bytes)
            return "directly"
    _patiently(lambda came: _relay(ends, files, came), on_bytes)
    return "through this machine"


def _patiently(once: Callable[[Callable[[int], None]], None], on_bytes: Callable[[int], None]) -> None:
    """Again after each cut, until some tries in a row brought nothing."""
    fruitless = 0
    while True:
        came = 0

        def count(size: int) -> None:
            nonlocal came
            came += size
            on_bytes(size)

        try:
            once(count)
        except LinkLost:
            fruitless = 0 if came > 0 else fruitless + 1
            if fruitless > len(_PAUSES):
                raise
            threading.Event().wait(_PAUSES[max(0, fruitless - 1)])
        else:
            return


def _directly(ends: Ends, files: list[dict[str, Any]], on_bytes: Callable[[int], None]) -> None:
    try:
        held = _allowed(ends)
        with held as argv:
            spec = {"files": files, "ssh": argv, "connections": _CONNECTIONS}
            _patiently(lambda came: ends.receiver.fetch(spec, came), on_bytes)
    except LinkLost as error:
        # Whatever it is that stands between them: this machine reaches both.
        raise NoWay from error


@contextlib.contextmanager
def _allowed(ends: Ends) -> Iterator[list[str]]:
    """The `ssh` of the new box that may read the old one's directory, for as long as this lasts."""
    receiver = ends.receiver
    place = f"{receiver.workplace}/key-{secrets.token_hex(4)}"
    # Of one name, so that the next copy finds what a killed one has left.
    mark = f"gpubox-copy-to-{receiver.login.name}"
    try:
        public = receiver.make_key(place, f"gpubox-source {ends.source.host_key}")
    except GpuboxError as error:
        raise NoWay from error
    try:
        with Host(ends.source) as old:
            try:
                old.run(_install(ends.directory, public, mark, old.run(_EXPIRY, retry=True).stdout.strip()))
                yield _argv(ends.source, place)
            finally:
                old.run(f"mark=' {mark}$'\n{_TAKE_AWAY}", retry=True)
    finally:
        receiver.remove(place)


def _install(directory: str, public: str, mark: str, expiry: str) -> str:
    line = shlex.quote(key_line(public, directory, mark, expiry))
    return (
        f"mark=' {mark}$'\n({_TAKE_AWAY})\n"
        'umask 077; mkdir -p "$HOME/.ssh" && cd "$HOME/.ssh" && touch authorized_keys || exit 1\n'
        'if [ -n "$(tail -c 1 authorized_keys)" ]; then echo >>authorized_keys; fi\n'
        f"printf '%s\\n' {line} >>authorized_keys"
    )


def _argv(source: Login, place: str) -> list[str]:
    pinned = (
        "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={place}.known", "-o", "GlobalKnownHostsFile=none",
        "-o", "HostKeyAlias=gpubox-source", "-o", "UpdateHostKeys=no", "-o", "CheckHostIP=no",
    )  # fmt: skip
    ours = ("-i", place, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "PasswordAuthentication=no")
    endpoint = source.endpoint
    where = ("-p", str(endpoint.port), "-l", endpoint.user, endpoint.host)
    return ["ssh", "-F", "none", "-T", "-o", "Compression=no", *_ALIVE, *pinned, *ours, *where]


def _relay(ends: Ends, files: list[dict[str, Any]], on_bytes: Callable[[int], None]) -> None:
    """This machine passes on what the new box asks for and what the old one answers."""
    new = ends.receiver.start({"files": files})
    assert new.stdin is not None
    assert new.stdout is not None
    argv = ssh_argv(ends.source, serve_script(ends.directory), batch=True)
    try:
        # The requests go straight from one child to the other.
        old = subprocess.Popen(argv, stdin=new.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        new.stdout.close()
        pump = threading.Thread(target=_pump, args=(old, new), daemon=True)
        pump.start()
        try:
            ends.receiver.follow(new, on_bytes)
        finally:
            old.kill()
            old.wait()
            pump.join()
    finally:
        ends.receiver.end(new)


def _pump(old: subprocess.Popen[bytes], new: subprocess.Popen[bytes]) -> None:
    assert old.stdout is not None
    assert new.stdin is not None
    with contextlib.suppress(OSError), old.stdout, new.stdin:
        while data := old.stdout.read1(_PIECE):  # type: ignore[attr-defined]  # it is a BufferedReader
            new.stdin.write(data)
            new.stdin.flush()
