"""`boxctl send` of a box over one `ssh` child: requests are lines, answers frames (its docstring has the form)."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import shlex
import struct
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from gpubox.errors import RemoteCommandFailed
from gpubox.remote import explain
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from gpubox.remote.login import Login

_HEAD = struct.Struct(">cQ")
_CONNECTION_ENDED = 255
# AES in hardware costs both ends less than OpenSSH's first choice (measured: 1.6-2.0 against 1.2-1.7 Gbit/s).
_CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr"
_OPTIONS = ("-o", "Compression=no", "-o", f"Ciphers={_CIPHERS}")
_PATIENCE = 30.0
# A login that says a few words before the answer is put up with.
_GREETING = 1 << 16
_PIPE = 1 << 20
_BUFFER = 1 << 18


class Session:
    """One connection. Methods raise `LinkLost` or `Unreachable` when it breaks, `AuthFailed`, `HostKeyChanged`, and
    `RemoteCommandFailed` with the box's own words."""

    def __init__(self, login: Login, root: str, verb: str = "send") -> None:
        self._login = login
        self._verb = verb
        self._hello = f"gpubox-{verb}-1\n".encode()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        command = f"exec {shlex.quote(root)}/bin/boxctl {verb}"
        argv = ssh_argv(login, command, options=_OPTIONS, batch=True)
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=_BUFFER,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert isinstance(self._child.stdout, io.BufferedReader)
        self._in, self._out = self._child.stdin, self._child.stdout
        self._greeted = False
        _widen(self._out.fileno())

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(patience=_PATIENCE if error is None else 0.0)

    def ask(self, request: dict[str, Any], *content: bytes | memoryview) -> None:
        """Send one request, and what belongs to it."""
        try:
            self._in.write(json.dumps(request).encode() + b"\n")
            for piece in content:
                self._in.write(piece)
            self._in.flush()
        except OSError as error:
            raise self._broken() from error

    def frame(self) -> tuple[bytes, int]:
        """The kind and length of the next frame, whose content is then taken by `take`, `into` or `object`."""
        if not self._greeted:
            self._skip_greeting()
        kind, length = _HEAD.unpack(self.take(_HEAD.size))
        return kind, length

    def take(self, length: int) -> bytes:
        """Exactly so many bytes."""
        data = self._out.read(length)
        if len(data) < length:
            raise self._broken()
        return data

    def into(self, view: memoryview) -> int:
        """Fill a part of `view` with what is there, waiting for at least one byte; how many came."""
        got = self._out.readinto1(view)
        if not got:
            raise self._broken()
        return got

    def object(self) -> dict[str, Any]:
        """The next frame, which is one of JSON."""
        kind, length = self.frame()
        if kind != b"J":
            raise self._nonsense(kind)
        return self.answer(length)

    def answer(self, length: int) -> dict[str, Any]:
        """The content of a frame of JSON."""
        answer: dict[str, Any] = json.loads(self.take(length))
        return answer

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for something that is answered by one object. Raises `RemoteCommandFailed` when that is an error."""
        self.ask(request)
        return self.checked(self.object())

    def answers(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask for something that is answered by one object after another."""
        self.ask(request)
        while not (answer := self.object()).get("done"):
            yield answer
        self.checked(answer)

    def checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """`answer`, unless it tells of an error."""
        if "error" in answer:
            raise RemoteCommandFailed(str(answer["error"]), where=self._login.name, hint=answer.get("hint"))
        return answer

    def end(self) -> None:
        """End it from another thread: whoever waits for it gets `LinkLost`."""
        self._child.terminate()

    def close(self, *, patience: float = 0.0) -> None:
        """Close the connection; the box's side is given `patience` seconds to end by itself."""
        with contextlib.suppress(OSError):
            self._in.close()
        if patience:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
        self._child.terminate()
        self._out.close()
        self._child.wait()
        self._stderr.close()

    def _skip_greeting(self) -> None:
        said = b""
        while not said.endswith(self._hello):
            line = self._out.readline(_GREETING)
            said += line
            if not line or len(said) > _GREETING:
                raise self._broken(said)
        self._greeted = True

    def _broken(self, said: bytes = b"") -> Exception:
        """Why nothing more comes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_PATIENCE)
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace")
        name, login = self._login.name, self._login
        code = self._child.poll()
        if code == _CONNECTION_ENDED:
            return explain.from_openssh(words, name, login.endpoint, pinned=login.host_key)
        if code is None or code < 0:
            return explain.link_lost(name, "it was ended" if code else "nothing comes")
        return _refused(name, self._verb, code, words, said.decode(errors="replace"))

    def _nonsense(self, kind: bytes) -> RemoteCommandFailed:
        return RemoteCommandFailed(f"`boxctl {self._verb}` sent a frame of kind {kind!r}", where=self._login.name)


def _refused(name: str, verb: str, code: int, words: str, said: str) -> RemoteCommandFailed:
    for line in said.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            answer = json.loads(line)
            if f"'{verb}'" in answer.get("error", ""):
                break
            return RemoteCommandFailed(answer["error"], where=name, hint=answer.get("hint"))
    else:
        last = (words.strip() or said.strip()).splitlines()[-1:] or [f"it ended with exit code {code}"]
        if code not in {126, 127}:
            return RemoteCommandFailed(f"`boxctl {verb}` failed: {last[0]}", where=name)
    return RemoteCommandFailed(
        f"what gpubox has put on the box does not know `boxctl {verb}`", where=name, hint=f"gpubox up {name}"
    )


def _widen(descriptor: int) -> None:
    """Fewer wake-ups for each MiB, where pipes can be made wider (Linux)."""
    wider = getattr(fcntl, "F_SETPIPE_SZ", None)
    if wider is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, wider, _PIPE)
