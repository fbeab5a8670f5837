"""The box that a model is copied to, and our program there (`on_box`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.errors import RemoteCommandFailed, TransferFailed
from gpubox.model_copy import on_box, on_box_state
from gpubox.remote import explain
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.remote.host import Host
    from gpubox.remote.login import Login

_PROGRAM, _STATE = Path(on_box.__file__), Path(on_box_state.__file__)
_PATIENCE = 10.0
# Hundreds of GiB may have to be read from a slow disk.
_READING = 4 * 3600.0


class NoWay(Exception):
    """The new box cannot log in to the old one."""


class Receiver:
    """`directory`: where the model is to lie. Errors are `TransferFailed`, `LinkLost` and what the link raises."""

    def __init__(self, host: Host, root: str, directory: str) -> None:
        self.login: Login = host.login
        self.directory = directory
        self.workplace = f"{root}/cache/model_copy"
        self._host = host
        program = _PROGRAM.read_bytes()
        self._program = f"{self.workplace}/{hashlib.sha256(program).hexdigest()[:12]}.py"
        self._python = f"{root}/controller/bin/python"
        host.run(f"umask 077; mkdir -p {shlex.quote(self.workplace)} {shlex.quote(directory)}", retry=True)
        host.put(program, self._program, mode=0o600)

    def look(self, files: list[dict[str, Any]]) -> dict[str, Any]:
        """What `on_box.look` says."""
        answer: dict[str, Any] = json.loads(self._call("look", files).splitlines()[-1])
        return answer

    @property
    def name(self) -> str:
        """Of the model."""
        return Path(self.directory).name

    def settle(self) -> None:
        """Forget a copy that was cut off: all of it is there."""
        self._host.run(f"rm -f {shlex.quote(f'{self.directory}/{on_box_state.STATE}')}", retry=True)

    def hold(self, identity: str) -> subprocess.Popen[bytes]:
        """`on_box_state` as an `ssh` child that waits for its lines: from now on there is a copy under way. Raises
        `LinkLost`."""
        program = f"{self.workplace}/{hashlib.sha256(_STATE.read_bytes()).hexdigest()[:12]}.py"
        self._host.put(_STATE.read_bytes(), program, mode=0o600)
        child = subprocess.Popen(
            ssh_argv(self.login, f"exec {shlex.join([self._python, program])}", batch=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps({"directory": self.directory, "id": identity}).encode() + b"\n")
            child.stdin.flush()
        for line in child.stdout:
            if line.strip() == b"held":
                return child
        self.end(child)
        raise explain.link_lost(self.login.name, "it was cut")

    def note(self, files: list[dict[str, Any]]) -> None:
        """See `on_box.note`."""
        self._call("note", files)

    def make_key(self, place: str, known: str) -> str:
        """A key pair of this box's own at `place`, with a known_hosts beside it; its public half.

        Raises `RemoteCommandFailed` where there is no OpenSSH client.
        """
        quoted, line = shlex.quote(place), shlex.quote(known)
        done = self._host.run(
            # Those of copies that were killed; they are worth nothing by then.
            f"find {shlex.quote(self.workplace)} -name 'key-*' -mmin +1440 -delete; "
            f"umask 077; command -v ssh >/dev/null && ssh-keygen -q -t ed25519 -N '' -C '' -f {quoted} >&2 && "
            f"printf '%s\\n' {line} >{quoted}.known && cat {quoted}.pub"
        )
        return done.stdout.strip().splitlines()[-1]

    def remove(self, place: str) -> None:
        """The key again."""
        quoted = shlex.quote(place)
        self._host.run(f"rm -f {quoted} {quoted}.pub {quoted}.known", retry=True)

    def fetch(self, spec: dict[str, Any], on_bytes: Callable[[int], None]) -> None:
        """Fetch over the box's own connections. Raises `NoWay` when it cannot even log in."""
        child = self.start(spec)
        try:
            self.follow(child, on_bytes)
        finally:
            self.end(child)

    def start(self, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        """`on_box fetch` as an `ssh` child that has got its spec."""
        child = subprocess.Popen(
            ssh_argv(self.login, self._command("fetch"), batch=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdin is not None
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps({"directory": self.directory, **spec}).encode() + b"\n")
            child.stdin.flush()
        return child

    def follow(self, child: subprocess.Popen[bytes], on_bytes: Callable[[int], None]) -> None:
        """Take what it says until its end. Raises `NoWay`, `LinkLost`, `TransferFailed`."""
        assert child.stderr is not None
        said = ""
        for line in child.stderr:
            try:
                words = json.loads(line)
            except ValueError:
                said = line.decode(errors="replace").strip() or said
                continue
            on_bytes(words.get("bytes", 0))
            said = words.get("error") or words.get("cut") or said
        self._check(child.wait(), said)

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """No child and no pipe stays."""
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _call(self, verb: str, files: list[dict[str, Any]]) -> str:
        stdin = json.dumps({"directory": self.directory, "files": files}).encode() + b"\n"
        done = self._host.run(self._command(verb), stdin=stdin, timeout=_READING, check=False, retry=True)
        said = done.stderr.strip().splitlines()
        with contextlib.suppress(ValueError, AttributeError, IndexError):
            said[-1] = json.loads(said[-1]).get("error", said[-1])
        self._check(done.exit_code, said[-1] if said else "")
        return done.stdout

    def _command(self, verb: str) -> str:
        return f"exec {shlex.join([self._python, self._program, verb])}"

    def _check(self, code: int, said: str) -> None:
        if code == 0:
            return
        if code == on_box.NO_WAY:
            raise NoWay
        if code in (on_box.CUT, 255):
            raise explain.link_lost(self.login.name, said or "it was cut")
        if code == 127:
            raise RemoteCommandFailed(f"`{self._python}` is not there", where=self.login.name)
        raise TransferFailed(
            said or f"the copy on the box ended with exit code {code}",
            where=self.login.name,
            hint="what arrived is kept; `gpubox up` goes on there when that is mended",
        )
