"""The process that holds one box: listens for it on loopback, powers it on and off, and takes it down when it ends."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from box.testbox import cgroup
from box.testbox.control import serve
from box.testbox.machine import Machine
from box.testbox.options import BoxOptions
from box.testbox.relay import Relay
from box.testbox.scratch import Scratch, sweep

if TYPE_CHECKING:
    from box.testbox.relay import Streams


class Warden:
    """Its public methods are the commands that `TestBox` sends."""

    def __init__(self) -> None:
        self._disk: Scratch | None = None
        self._machine: Machine | None = None
        self._relay = Relay(self._connect)
        self._watch: asyncio.Task[None] | None = None

    @property
    def machine(self) -> Machine:
        """The box. Raises `RuntimeError` before `create`."""
        if self._machine is None:
            raise RuntimeError("the box has not been created")
        return self._machine

    async def create(self, scratch: str, base: str, options: dict[str, Any], overlay_options: str) -> dict[str, Any]:
        """Makes the disk; the box is off. `swept` names what dead owners had left."""
        swept = await asyncio.to_thread(sweep, Path(scratch), cgroup.remove)
        self._disk = Scratch(Path(scratch))
        self._machine = Machine(base, self._disk, BoxOptions.from_dict(options), overlay_options)
        return {"host_key": self._machine.host_key(), "name": self._disk.name, "swept": swept}

    async def power_on(self, port: int) -> int:
        """Boots and listens on `port` (0: any); returns it."""
        taken = self._relay.reserve(port)
        process = await self.machine.power_on()
        self._relay.listen()
        self._watch = asyncio.create_task(self._when_off(process))
        return taken

    async def power_off(self) -> None:
        """Returns when every process of the box is gone and its port refuses."""
        await self.machine.power_off()
        if self._watch is not None:
            await self._watch

    async def is_on(self) -> bool:
        """Whether PID 1 lives."""
        return self._watch is not None and not self._watch.done()

    async def wait_off(self) -> None:
        """Returns when the box has gone off, by whatever means."""
        if self._watch is not None:
            await asyncio.shield(self._watch)

    async def kill_connections(self) -> int:
        """Kills the sshd of every connection; the client sees a reset. Returns how many connections there were."""
        self.machine.kill_sessions()
        return await self._relay.reset()

    async def cut(self, seconds: float | None) -> None:
        """Freezes the line."""
        self._relay.freeze(seconds)

    async def heal(self) -> None:
        """Ends `cut`."""
        self._relay.heal()

    async def delay(self, seconds: float) -> None:
        """Makes the line as long as that, one way."""
        self._relay.delay = seconds

    async def connections(self) -> int:
        """How many are open."""
        return self._relay.live

    async def change_host_key(self) -> str:
        """Gives the box another host key, as a provider's gateway does that reuses a port."""
        key = "/etc/ssh/ssh_host_ed25519_key"
        command = f"rm -f {key} {key}.pub && ssh-keygen -q -t ed25519 -N '' -C '' -f {key}"
        code, _, stderr = await self.machine.execute(command, b"", 60)
        if code != 0:
            raise RuntimeError(stderr.decode(errors="replace"))
        return self.machine.host_key()

    async def set_password(self, password: str) -> None:
        """Of the next boot."""
        self.machine.set_password(password)

    async def execute(self, command: str, stdin: str, seconds: float) -> dict[str, Any]:
        """Runs a command in the box; `stdin` and the answer's streams are base64."""
        code, stdout, stderr = await self.machine.execute(command, base64.b64decode(stdin), seconds)
        return {"code": code, "stdout": base64.b64encode(stdout).decode(), "stderr": base64.b64encode(stderr).decode()}

    async def close(self) -> None:
        """Takes the box and everything of it away."""
        await self._relay.close()
        if self._machine is not None:
            await self._machine.destroy()
        elif self._disk is not None:
            self._disk.remove()

    async def _connect(self) -> Streams:
        try:
            return await self.machine.connect()
        except RuntimeError as error:  # the box went off in between
            raise ConnectionRefusedError(str(error)) from error

    async def _when_off(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._relay.refuse()
        await self._relay.reset()


async def _main() -> None:
    warden = Warden()
    names = (
        "create", "power_on", "power_off", "is_on", "wait_off", "kill_connections", "cut", "heal", "delay",
        "connections", "change_host_key", "set_password", "execute",
    )  # fmt: skip
    try:
        await serve({name: getattr(warden, name) for name in names})
    finally:
        await warden.close()


if __name__ == "__main__":
    asyncio.run(_main())
