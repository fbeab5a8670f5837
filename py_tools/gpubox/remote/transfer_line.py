"""An `ssh` child that connects while this side still finds out what to run there; and one login for several of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gpubox import paths
from gpubox.remote import ssh_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from gpubox.remote.login import Login
    from gpubox.remote.transfer_channel import Channel

# AES in hardware costs both ends less than OpenSSH's first choice (measured: 1.6-2.0 against 1.2-1.7 Gbit/s).
_CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr"
_OPTIONS = ("-o", "BatchMode=yes", "-o", "Compression=no", "-o", f"Ciphers={_CIPHERS}")
# `read` takes no byte behind its line, so what follows is the command's own stdin.
_TOLD_LATER = """exec sh -c 'read -r line && eval "exec $line"'"""
_BUFFER = 1 << 18
# A Unix socket's path has at most 104 bytes on macOS, and OpenSSH makes it under a name that is 17 longer.
_LONGEST = 104 - 17


class Line:
    """One connection, or one channel of another's: `tell` it one command, then talk to that."""

    served = False

    def __init__(self, config: Path, name: str, options: Sequence[str] = ()) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._child = subprocess.Popen(
            ["ssh", "-F", str(config), *_OPTIONS, *options, ssh_config.alias(name), _TOLD_LATER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=_BUFFER,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self.stdin: IO[bytes] = self._child.stdin
        self.stdout: IO[bytes] = self._child.stdout

    def tell(self, command: str) -> None:
        """The command, one line of shell. Should the line be broken already, whoever reads from it will see that."""
        with contextlib.suppress(OSError):
            self.stdin.write(f"{command}\n".encode())
            self.stdin.flush()

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        return self._child.poll()

    def words(self, patience: float) -> tuple[int | None, str]:
        """Exit code (None: it runs on after so many seconds) and what it said on stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        self._stderr.seek(0)
        return self._child.poll(), self._stderr.read().decode(errors="replace")

    def end(self) -> None:
        """End it from another thread: whoever reads from it comes to an end."""
        self._child.terminate()

    def close(self, *, patience: float = 0.0) -> None:
        """Close it; the box's side is given `patience` seconds to end by itself."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        if patience:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
        self._child.terminate()
        self.stdout.close()
        self._child.wait()
        self._stderr.close()


class Shared:
    """One login whose connection several `Line`s use, each as a channel of its own with a window of its own.

    A login costs eight round trips and some 60 ms of CPU time at both ends, a channel two round trips. The first line
    carries the others, and they end with it. `first` is that line, made when this is, over the box's last `config`.

    What runs on `first` may listen at `there`, a Unix socket on the box, and say so by `serves`: then a further channel
    costs a round trip, and no start of `ssh`, shell and Python.
    """

    def __init__(self, config: Path, name: str) -> None:
        self._config = config
        self._said = config.read_text()
        self._name = name
        self._directory = tempfile.TemporaryDirectory(prefix="gpubox-")
        self._socket = Path(self._directory.name) / "s"
        self._forward = Path(self._directory.name) / "f"
        self.there = f"/tmp/gpubox-{os.urandom(8).hex()}"  # noqa: S108 - nobody can know it beforehand, and it is new
        self._served: bool | None = None
        self._possible = len(str(self._socket)) <= _LONGEST
        self.first = Line(config, name, self._options("yes"))

    @classmethod
    def early(cls, name: str) -> Shared | None:
        """Over the configuration with which `name` was reached last, before anybody has looked whether it still holds.

        None for a box that was never reached.
        """
        config = paths.data_dir() / "boxes" / name / "ssh_config"
        return cls(config, name) if config.parent.name == name and config.is_file() else None

    @classmethod
    def of(cls, login: Login) -> Shared:
        """Over the login that the ledger knows."""
        return cls(ssh_config.write(login), login.name)

    def __enter__(self) -> Shared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fits(self, login: Login) -> bool:
        """Whether it leads where this login does, and has not ended."""
        return self.first.poll() is None and ssh_config.write(login).read_text() == self._said

    def settled(self) -> bool:
        """Whether `another` costs no login any more, or never will do without one."""
        if not self._possible or self.first.poll() is not None:
            return True
        return self._served is not None and (self._served or self._socket.exists())

    def serves(self, *, yes: bool) -> None:
        """Whether somebody listens at `there`; no channel of that kind is tried any more once it is a no."""
        self._served = yes

    def another(self) -> Line | Channel:
        """A further line. OpenSSH gives it a connection of its own when the first one is gone, or the box wants no
        second channel on it."""
        if self._served and self._possible:
            from gpubox.remote.transfer_channel import Channel

            with contextlib.suppress(OSError):
                return Channel(self._forward)
        return Line(self._config, self._name, self._options("no"))

    def close(self) -> None:
        """End the first line, and forget it."""
        self.first.close()
        self._directory.cleanup()

    def _options(self, leads: str) -> tuple[str, ...]:
        if not self._possible:
            return ()
        path = str(self._socket).replace("%", "%%")
        forward = ("-L", f"{self._forward}:{self.there}") if leads == "yes" else ()
        return (
            *forward,
            "-o",
            f"ControlMaster={leads}",
            "-o",
            f"ControlPath={path}",
            "-o",
            "ControlPersist=no",
        )
