"""`boxctl send` or `receive` of a box over one `ssh` child: requests are lines, answers frames (`boxctl.frames`)."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import re
import shlex
import struct
from typing import TYPE_CHECKING, Any, TypeVar

from gpubox.errors import RemoteCommandFailed
from gpubox.remote import explain, ssh_config
from gpubox.remote.transfer_line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from gpubox.remote.login import Login
    from gpubox.remote.transfer_channel import Channel

_A = TypeVar("_A")
_T = TypeVar("_T")

_VERSION = 3
_HEAD = struct.Struct(">cQ")
_CONNECTION_ENDED = 255
# The shell's codes for "found, but cannot be run" and "not found".
_MISSING = {126, 127}
_PATIENCE = 30.0
# A login that says a few words before the answer is put up with.
_GREETING = 1 << 16
_PIPE = 1 << 20


class Session:
    """One conversation, over a `line` of the caller's or a connection of its own.

    `served`: the box's side runs already, and speaks first. `greeted`: it has been heard.

    Methods raise `LinkLost` or `Unreachable` when it breaks, `AuthFailed`, `HostKeyChanged`, and `RemoteCommandFailed`
    with the box's own words.
    """

    def __init__(self, login: Login, root: str, verb: str = "send", *, line: Line | Channel | None = None) -> None:
        self._login = login
        self.served = line is not None and line.served
        self._verb = verb
        self._root = root
        self._line = line if line is not None else Line(ssh_config.write(login), login.name)
        assert isinstance(self._line.stdout, io.BufferedReader)
        self._in, self._out = self._line.stdin, self._line.stdout
        self.greeted = False
        _widen(self._out.fileno())
        self._line.tell(f"{shlex.quote(root)}/bin/boxctl {verb}")

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

    def greet(self) -> None:
        """Wait until the box's side is there."""
        if not self.greeted:
            self._skip_greeting()

    def frame(self) -> tuple[bytes, int]:
        """The kind and length of the next frame, whose content is then taken by `take`, `into` or `object`."""
        self.greet()
        kind, length = _HEAD.unpack(self.take(_HEAD.size))
        return kind, length

    def take(self, length: int) -> bytes:
        """Exactly so many bytes."""
        data = self._heard(self._out.read, length)
        if len(data) < length:
            raise self._broken()
        return data

    def into(self, view: memoryview) -> int:
        """Fill a part of `view` with what is there, waiting for at least one byte; how many came."""
        got = self._heard(self._out.readinto1, view)
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
        self._line.end()

    def close(self, *, patience: float = 0.0) -> None:
        """Close it; the box's side is given `patience` seconds to end by itself."""
        self._line.close(patience=patience)

    def _skip_greeting(self) -> None:
        hello = f"gpubox-{self._verb}-{_VERSION}\n".encode()
        said = b""
        while not said.endswith(hello):
            line = self._heard(self._out.readline, _GREETING)
            said += line
            if not line or len(said) > _GREETING:
                raise self._broken(said)
            if re.search(rb"gpubox-%b-\d+\n$" % self._verb.encode(), line) and not said.endswith(hello):
                raise _of_another_version(self._login.name, self._verb)
        self.greeted = True

    def _heard(self, read: Callable[[_A], _T], argument: _A) -> _T:
        """A channel that breaks while something sent over it is unread is not at its end: it was reset."""
        try:
            return read(argument)
        except OSError as error:
            raise self._broken() from error

    def _broken(self, said: bytes = b"") -> Exception:
        """Why nothing more comes."""
        code, words = self._line.words(_PATIENCE)
        name, login = self._login.name, self._login
        if code == _CONNECTION_ENDED and words.strip():
            return explain.from_openssh(words, name, login.endpoint, pinned=login.host_key)
        if code == _CONNECTION_ENDED:
            # A channel of a connection that broke says nothing itself.
            return explain.link_lost(name, "it was cut")
        if code is None or code < 0:
            return explain.link_lost(name, "it was ended" if code else "nothing comes")
        if code in _MISSING:
            return _half_set_up(name, self._root, words)
        return _refused(name, self._verb, code, words, said.decode(errors="replace"))

    def _nonsense(self, kind: bytes) -> RemoteCommandFailed:
        return RemoteCommandFailed(f"`boxctl {self._verb}` sent a frame of kind {kind!r}", where=self._login.name)


def _refused(name: str, verb: str, code: int, words: str, said: str) -> RemoteCommandFailed:
    """The error of a `boxctl` that ended before it greeted: its own words, if it had any."""
    for line in said.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            answer = json.loads(line)
            if f"'{verb}'" in answer.get("error", ""):
                return _of_another_version(name, verb)
            return RemoteCommandFailed(answer["error"], where=name, hint=answer.get("hint"))
    last = (words.strip() or said.strip()).splitlines()[-1:] or [f"it ended with exit code {code}"]
    return RemoteCommandFailed(
        f"`boxctl {verb}` failed: {last[0]}",
        where=name,
        hint=f"`gpubox up {name} --full` renews what gpubox has put on the box",
    )


def _of_another_version(name: str, verb: str) -> RemoteCommandFailed:
    return RemoteCommandFailed(
        f"what lies on the box was put there by another version of gpubox, whose `boxctl {verb}` speaks differently",
        where=name,
        hint=f"`gpubox up {name}` brings it up to date; no data on the box is touched by that",
    )


def _half_set_up(name: str, root: str, words: str) -> RemoteCommandFailed:
    last = words.strip().splitlines()[-1:]
    said = f" ({last[0]})" if last else ""
    return RemoteCommandFailed(
        f"the box is only half set up: gpubox's own part below `{root}` is missing or broken{said}",
        where=name,
        hint=f"`gpubox up {name}` finishes the set-up, then the same command works; until then `gpubox ssh {name}` and "
        "`rsync` or `scp` reach the files",
    )


def _widen(descriptor: int) -> None:
    """Fewer wake-ups for each MiB, where pipes can be made wider (Linux)."""
    wider = getattr(fcntl, "F_SETPIPE_SZ", None)
    if wider is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, wider, _PIPE)
