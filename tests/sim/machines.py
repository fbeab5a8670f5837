"""What stands behind a simulated provider: real test boxes, or paper ones that only greet."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Unpack

from box.testbox import TestBox
from box.testbox.base import base
from box.testbox.control import ChildError

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox.options import Wishes
    from sim.clock import SimClock

_DAY = 86_400.0


class Machine(Protocol):
    """One box of a provider, made powered off."""

    host: str
    user: str

    @property
    def port(self) -> int:
        """Where it listens; another one after every power change."""

    def power_on(self, password: str, start_command: str, went_off: Callable[[], None]) -> None:
        """Boot with that password on a new port, then run the command in it; `went_off` when it goes off by itself.

        Returns when it has booted.
        """

    def power_off(self) -> None:
        """Cut the power; the disk stays."""

    def destroy(self) -> None:
        """Take away the disk, too."""


class Machines(Protocol):
    """Makes machines. `close` destroys those that are left."""

    def make(self, hostname: str) -> Machine:
        """A new one, powered off, with an empty disk."""

    def close(self) -> None:
        """Destroy all."""


class RealMachines:
    """Test boxes. The options are those of `TestBox`, for all of them; `boxes` keeps the destroyed ones, too.

    Raises `NoBoxes` where none can be made.
    """

    def __init__(self, **wishes: Unpack[Wishes]) -> None:
        base()
        self._wishes = wishes
        self.boxes: list[RealMachine] = []

    def make(self, hostname: str) -> Machine:
        """A box that is not started yet."""
        machine = RealMachine({**self._wishes, "hostname": hostname})
        self.boxes.append(machine)
        return machine

    def close(self) -> None:
        """Destroy every box that is left."""
        for machine in self.boxes:
            machine.destroy()


class RealMachine:
    """A test box, made at its first boot."""

    def __init__(self, wishes: Wishes) -> None:
        self.host: str = TestBox.host
        self.user: str = TestBox.user
        self._wishes = wishes
        self._box: TestBox | None = None
        self._boots = 0
        self._lock = threading.Lock()
        self.destroyed = False

    @property
    def box(self) -> TestBox:
        """For a test's own looks, once it has booted."""
        assert self._box is not None
        return self._box

    @property
    def port(self) -> int:
        """Of the last boot; 0 before the first."""
        return self._box.port if self._box else 0

    def power_on(self, password: str, start_command: str, went_off: Callable[[], None]) -> None:
        """Boots (0.6 s), then runs the command as the provider does: in the background, whatever becomes of it."""
        with self._lock:
            if self.destroyed:
                return
            if self._box is None:
                wishes: Wishes = {**self._wishes, "password": password}
                self._box = TestBox(**wishes)
            else:
                self._box.child.call("set_password", password=password)
                self._box.password = password
            self._box.port = 0
            self._box.start()
            self._boots += 1
            boot = self._boots
            if start_command:
                line = f"setsid nohup bash -c {shlex.quote(start_command)} </dev/null >/root/start_command.log 2>&1 &"
                self._box.exec(line)
        threading.Thread(target=self._watch, args=(self._box, boot, went_off), daemon=True).start()

    def power_off(self) -> None:
        """At once."""
        with self._lock:
            self._boots += 1
            if self._box is not None and not self.destroyed:
                self._box.power_off()

    def destroy(self) -> None:
        """With its disk."""
        with self._lock:
            self._boots += 1
            self.destroyed = True
            if self._box is not None:
                self._box.destroy()

    def _watch(self, box: TestBox, boot: int, went_off: Callable[[], None]) -> None:
        with contextlib.suppress(ChildError, TimeoutError, RuntimeError):
            box.wait_off(timeout=_DAY)
            if boot == self._boots:
                went_off()


@dataclass
class PaperMachine:
    """A box on paper: a port that greets as SSH servers do, `deaf_seconds` of simulated time after its boot."""

    paper: PaperMachines
    hostname: str
    host: str = "127.0.0.1"
    user: str = "root"
    password: str = field(default="", repr=False)
    start_command: str = ""
    boots: int = 0
    destroyed: bool = False
    _went_off: Callable[[], None] | None = None
    _greeter: _Greeter | None = None

    @property
    def port(self) -> int:
        """Of the last boot; 0 before the first."""
        return self._greeter.port if self._greeter else 0

    def power_on(self, password: str, start_command: str, went_off: Callable[[], None]) -> None:
        """Begin to greet on a new port."""
        assert not self.destroyed
        self.password, self.start_command, self._went_off = password, start_command, went_off
        self.boots += 1
        self._greeter = _Greeter(self.paper.clock, self.paper.deaf_seconds)

    def power_off(self) -> None:
        """Close the port."""
        if self._greeter is not None:
            self._greeter.close()
        self._went_off = None

    def shut_down_by_itself(self) -> None:
        """As a guard in it does."""
        went_off = self._went_off
        self.power_off()
        if went_off is not None:
            went_off()

    def destroy(self) -> None:
        """For good."""
        self.power_off()
        self.destroyed = True


class PaperMachines:
    """Boxes on paper, for tests without namespaces; `all` keeps the destroyed ones, too."""

    def __init__(self, clock: SimClock, *, deaf_seconds: float = 3.0) -> None:
        self.clock = clock
        self.deaf_seconds = deaf_seconds
        self.all: list[PaperMachine] = []

    def make(self, hostname: str) -> Machine:
        """One more."""
        machine = PaperMachine(self, hostname)
        self.all.append(machine)
        return machine

    def close(self) -> None:
        """Close every port."""
        for machine in self.all:
            machine.power_off()


class _Greeter:
    """A port that says what SSH servers say first; before its time it hangs up, as a gateway without a box does."""

    def __init__(self, clock: SimClock, deaf_seconds: float) -> None:
        self._clock = clock
        self._since = clock.now()
        self._deaf = deaf_seconds
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more answers; returns when the port is free."""
        if self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            self._thread.join(10)
            self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                if (self._clock.now() - self._since).total_seconds() >= self._deaf:
                    connection.sendall(b"SSH-2.0-paper\r\n")


def password() -> str:
    """As AutoDL's: 12 characters, with `+` and `/`, which break careless quoting."""
    return secrets.token_urlsafe(8)[:10] + "+/"
