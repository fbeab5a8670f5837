"""One SSH connection to a box: commands, streams of lines, small files."""

from __future__ import annotations

import shlex
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.errors import LinkLost, RemoteCommandFailed, Unreachable
from gpubox.remote import explain
from gpubox.remote.channel import Command, TimedOut
from gpubox.remote.connect import open_connection, with_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from fabric import Connection

    from gpubox.remote.login import Login

_TRIES = 3
_PAUSE = 0.5
# Two minutes for a round trip of a file's last bytes: a slow disk on the box may have to write it all first.
_PUT_PATIENCE = 120.0
_CHUNK = 1 << 15


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


class Host:
    """A box over one SSH connection, opened at the first use; `run` may be called while another thread streams.

    Every method raises `Unreachable`, `AuthFailed` or `HostKeyChanged` when the box cannot be logged in to, and
    `LinkLost` when a connection that was up breaks (found within 15 s). The next call connects anew.
    """

    def __init__(self, login: Login, *, connect_timeout: float = 15.0) -> None:
        self.login = login
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float = 60.0,
        check: bool = True,
        retry: bool = False,
    ) -> Result:
        """Run `command` in the login shell's `sh -c` way and wait for its end.

        After `timeout` seconds the command is ended and `Unreachable` raised. `check`: another exit code than 0 raises
        `RemoteCommandFailed` with the last lines of stderr. `retry`: the command may safely run twice, so a lost link
        is tried again, up to three times in all.
        """
        result = self._tried(
            lambda: run_on(self.login.name, self._open(), command, stdin=stdin, timeout=timeout),
            tries=_TRIES if retry else 1,
        )
        if check and result.exit_code != 0:
            raise failed(self.login.name, command, result)
        return result

    def stream(
        self,
        command: str,
        on_line: Callable[[str], None],
        *,
        stdin: bytes | None = None,
        silence: float = 15.0,
        on_error_line: Callable[[str], None] | None = None,
    ) -> int:
        """Run `command`, hand over each line of its stdout without the newline as it comes, and return its exit code.

        `LinkLost` when the link drops or nothing came for `silence` seconds (the command has to send heartbeats).
        """
        out, err = _Lines(on_line), _Lines(on_error_line or (lambda _line: None))
        with Command(self.login.name, self._open(), command, stdin=_chunks(stdin or b"")) as running:
            try:
                for data, is_error in running.output(patience=silence):
                    (err if is_error else out).feed(data)
            except TimedOut as error:
                raise explain.link_lost(self.login.name, f"nothing came for {silence:g} s") from error
            out.end()
            err.end()
            return running.exit_code()

    def put(self, source: bytes | Path, remote: str, *, mode: int = 0o600) -> None:
        """Write `source` (the bytes, or the file of that path) to the box's file `remote`: whole or not at all.

        Missing directories are made, 0700. A lost link is tried again, up to three times in all. Raises
        `RemoteCommandFailed`, for example on a full disk.
        """
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        target, directory = shlex.quote(remote), shlex.quote(str(Path(remote).parent))
        # The size is compared because a cut link looks to `cat` like the end of the file.
        command = (
            f'umask 077; t={target}.part.$$; mkdir -p {directory} && cat >"$t" && '
            f'[ "$(wc -c <"$t")" -eq {size} ] && chmod {mode:o} "$t" && mv -f "$t" {target} || '
            '{ rm -f "$t"; exit 1; }'
        )

        def once() -> Result:
            with Command(self.login.name, self._open(), command, stdin=_chunks(source)) as running:
                return _collected(running, self.login.name, "writing a file", patience=_PUT_PATIENCE)

        result = self._tried(once, tries=_TRIES)
        if result.exit_code != 0:
            raise failed(self.login.name, f"write {remote}", result)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tried(self, once: Callable[[], Result], *, tries: int) -> Result:
        for again in range(1, tries):
            try:
                return once()
            except LinkLost:
                time.sleep(_PAUSE * again)
        return once()

    def _open(self) -> Connection:
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            login = self.login

            def check(shown: str) -> None:
                if shown != login.host_key:
                    raise explain.host_key_changed(login.name, login.endpoint, pinned=login.host_key, shown=shown)

            self._connection = open_connection(
                login.name,
                login.endpoint,
                check=check,
                auth=with_key(login.identity_file),
                tried="our key",
                prefer=login.host_key.split()[0],
                timeout=self._connect_timeout,
            )
            return self._connection


def run_on(
    name: str, connection: Connection, command: str, *, stdin: bytes | None = None, timeout: float = 60.0
) -> Result:
    """Run `command` over a connection that is open, as `Host.run` does without `check` and `retry`."""
    with Command(name, connection, command, stdin=_chunks(stdin or b"")) as running:
        return _collected(running, name, f"`{_short(command)}`", deadline=timeout)


def failed(name: str, command: str, result: Result) -> RemoteCommandFailed:
    """The error of a command that ended with another exit code than 0, with its last words."""
    words = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
    said = "\n".join(["", *words]) if words else ", without a word"
    return RemoteCommandFailed(
        f"`{_short(command)}` ended with exit code {result.exit_code}{said}",
        where=name,
        hint=explain.disk_hint(name, said),
    )


class _Lines:
    """Bytes in, whole lines out; a line may come in pieces, and so may a character."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")


def _collected(
    running: Command, name: str, what: str, *, deadline: float | None = None, patience: float | None = None
) -> Result:
    out, err = bytearray(), bytearray()
    try:
        for data, is_error in running.output(deadline=deadline, patience=patience):
            (err if is_error else out).extend(data)
    except TimedOut as error:
        raise Unreachable(
            f"{what} did not end within {error.seconds:g} s; it was told to stop",
            where=name,
            hint=f"`gpubox doctor {name}` looks at the box",
        ) from error
    return Result(running.exit_code(), out.decode(errors="replace"), err.decode(errors="replace"))


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), _CHUNK):
            yield source[start : start + _CHUNK]
        return
    with source.open("rb") as file:
        while data := file.read(_CHUNK):
            yield data


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 100 else line[:97] + "..."
