"""`TestBox`: a real box like a rented one, reached with a password over SSH on an odd port of 127.0.0.1."""

from __future__ import annotations

import base64
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from box.testbox.base import base
from box.testbox.control import Child
from box.testbox.isolation import isolation, scratch_root, tool_path
from box.testbox.options import BoxOptions, Wishes

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command in a box left."""

    exit_code: int
    stdout: str
    stderr: str


class TestBox:
    """Options are those of `BoxOptions`. `with TestBox(...) as box:` starts and destroys it.

    Raises `NoBoxes` where boxes cannot be made. Ended by `destroy`, or with this process, however that ends.
    """

    __test__: ClassVar[bool] = False
    host: ClassVar[str] = "127.0.0.1"
    user: ClassVar[str] = "root"

    def __init__(self, **wishes: Unpack[Wishes]) -> None:
        self.options = BoxOptions(**wishes)
        self.password = self.options.password
        self.port = 0
        self.host_key = ""
        self.name = ""
        self.swept: list[str] = []
        self._child: Child | None = None

    @property
    def hostname(self) -> str:
        """As the box itself says it."""
        return self.options.hostname

    @property
    def data_dir(self) -> str:
        """Where the data disk is mounted in the box."""
        return self.options.data_dir

    @property
    def ssh_line(self) -> str:
        """The login line that a provider's console shows."""
        return f"ssh -p {self.port} {self.user}@{self.host}"

    @property
    def child(self) -> Child:
        """The box's warden."""
        if self._child is None:
            raise RuntimeError("the box has not been started")
        return self._child

    def start(self) -> TestBox:
        """Makes the box the first time, powers it on, and returns it when SSH answers."""
        if self._child is None:
            self._create()
        self.port = self.child.call("power_on", port=self.port)
        return self

    def power_off(self) -> None:
        """Ends every process at once and closes the port; the disk stays."""
        self.child.call("power_off")

    def power_cycle(self, *, new_port: bool = False, new_password: str | None = None) -> None:
        """Off and on again: same disk and host key, another port and password if asked."""
        self.power_off()
        if new_port:
            self.port = 0
        if new_password is not None:
            self.child.call("set_password", password=new_password)
            self.password = new_password
        self.start()

    def is_on(self) -> bool:
        """Whether the box runs; false after `/usr/bin/shutdown` in it, too."""
        return bool(self.child.call("is_on"))

    def wait_off(self, timeout: float = 60.0) -> None:
        """Waits until the box has gone off by itself. Raises `TimeoutError`."""
        self.child.call("wait_off", timeout=timeout)

    def kill_connections(self) -> int:
        """Kills the sshd of every open connection (not the commands); returns how many connections there were."""
        return int(self.child.call("kill_connections"))

    def connections(self) -> int:
        """How many SSH connections are open."""
        return int(self.child.call("connections"))

    def cut(self, seconds: float | None = None) -> None:
        """Freezes the line: connections stay open, nothing comes through, new ones get no answer. For `seconds`, or
        until `heal`."""
        self.child.call("cut", seconds=seconds)

    def heal(self) -> None:
        """Ends `cut`; what was sent meanwhile arrives now."""
        self.child.call("heal")

    def delay(self, seconds: float) -> None:
        """One-way delay of whatever passes over SSH from now on. (`Proxy` makes a second line, which can do more.)"""
        self.child.call("delay", seconds=seconds)

    def change_host_key(self) -> str:
        """Gives the box another host key and returns it."""
        self.host_key = self.child.call("change_host_key")
        return self.host_key

    def exec(self, command: str, *, stdin: bytes = b"", timeout: float = 120.0) -> Completed:
        """Runs a shell command as root in the box, past SSH: for a test's own looks. Exit code 124: took too long."""
        done = self.child.call(
            "execute",
            timeout=timeout + 30,
            command=command,
            stdin=base64.b64encode(stdin).decode(),
            seconds=timeout,
        )
        streams = (base64.b64decode(done[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        return Completed(done["code"], *streams)

    def read(self, path: str) -> str:
        """The text of a file in the box. Raises `FileNotFoundError`."""
        done = self.exec(f"cat -- {shlex.quote(path)}")
        if done.exit_code != 0:
            raise FileNotFoundError(done.stderr.strip())
        return done.stdout

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Writes a file in the box, with its directories."""
        quoted = shlex.quote(path)
        done = self.exec(
            f'mkdir -p -- "$(dirname -- {quoted})" && cat > {quoted} && chmod {mode:o} {quoted}', stdin=text.encode()
        )
        if done.exit_code != 0:
            raise OSError(done.stderr.strip())

    def processes(self) -> list[str]:
        """Command lines of what runs in the box, PID 1 first, without kernel threads and this look itself."""
        lines = self.exec("ps -ww -eo pid=,args=").stdout.splitlines()
        rows = [line.split(None, 1) for line in lines]
        return [row[1] for row in rows if len(row) == 2 and "ps -ww -eo" not in row[1]]

    def destroy(self) -> None:
        """Takes away processes, mounts and disk; nothing is left when it returns."""
        if self._child is not None:
            child, self._child = self._child, None
            child.close()

    def _create(self) -> None:
        way = isolation()
        lower = base()
        self._child = Child("box.testbox.warden", prefix=way.prefix, path=tool_path())
        try:
            made = self._child.call(
                "create",
                scratch=str(scratch_root()),
                base=str(lower),
                options=self.options.as_dict(),
                overlay_options=way.overlay_options,
            )
        except BaseException:
            self.destroy()
            raise
        self.host_key, self.name, self.swept = made["host_key"], made["name"], made["swept"]

    def __enter__(self) -> TestBox:
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()


class BoxFactory:
    """Makes started boxes, from several threads at once if need be, and destroys them all when its block ends."""

    def __init__(self) -> None:
        self._boxes: list[TestBox] = []

    def __call__(self, **wishes: Unpack[Wishes]) -> TestBox:
        """A started box."""
        box = TestBox(**wishes)
        self._boxes.append(box)
        return box.start()

    def __enter__(self) -> BoxFactory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ThreadPoolExecutor(10) as pool:
            # A list: every box is destroyed before the first error, if any, is raised.
            ends = [pool.submit(box.destroy) for box in self._boxes]
        for end in ends:
            end.result()


__all__ = ["BoxFactory", "Completed", "TestBox"]
