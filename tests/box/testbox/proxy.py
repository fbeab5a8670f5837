"""`Proxy`: a loopback port that leads to another one over a line that can be slow, cut, frozen or closed.

Runs in a process of its own, so that it neither slows nor is slowed by the test or benchmark that uses it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from box.testbox.control import Child, serve
from box.testbox.relay import Relay

if TYPE_CHECKING:
    from types import TracebackType

    from box.testbox.relay import Streams


class Proxy:
    """`with Proxy(port, delay=0.02) as line:` connect to 127.0.0.1:`line.port` instead of `port`.

    `delay` is one-way, in seconds (0.02 is a round trip of 40 ms); `listen` chooses the proxy's own port.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", delay: float = 0.0, listen: int = 0) -> None:
        self._child = Child("box.testbox.proxy")
        try:
            self.port: int = self._child.call("start", host=host, port=port, delay=delay, listen=listen)
        except BaseException:
            self._child.close()
            raise

    def delay(self, seconds: float) -> None:
        """Changes the one-way delay, for open connections too."""
        self._child.call("delay", seconds=seconds)

    def cut(self) -> int:
        """Breaks every open connection with RST; returns how many. New ones are taken."""
        return int(self._child.call("cut"))

    def freeze(self, seconds: float | None = None) -> None:
        """Forwards nothing more, connections stay open, new ones get no answer: a cable pulled out."""
        self._child.call("freeze", seconds=seconds)

    def refuse(self) -> None:
        """Refuses new connections, as a host without the service does."""
        self._child.call("refuse")

    def heal(self) -> None:
        """Ends `freeze` and `refuse`."""
        self._child.call("heal")

    def counts(self) -> dict[str, int]:
        """`accepted` connections, `live` ones, bytes `up` (to the target) and `down`."""
        return dict(self._child.call("counts"))

    def close(self) -> None:
        """Ends the proxy and every connection through it."""
        self._child.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server:
    def __init__(self) -> None:
        self._relay: Relay | None = None

    @property
    def relay(self) -> Relay:
        if self._relay is None:
            raise RuntimeError("not started")
        return self._relay

    async def start(self, host: str, port: int, delay: float, listen: int) -> int:
        async def connect() -> Streams:
            return await asyncio.open_connection(host, port)

        self._relay = Relay(connect, delay=delay)
        taken = self._relay.reserve(listen)
        self._relay.listen()
        return taken

    async def delay(self, seconds: float) -> None:
        self.relay.delay = seconds

    async def cut(self) -> int:
        return await self.relay.reset()

    async def freeze(self, seconds: float | None) -> None:
        self.relay.freeze(seconds)

    async def refuse(self) -> None:
        self.relay.refuse()

    async def heal(self) -> None:
        self.relay.heal()
        self.relay.refuse()
        self.relay.listen()

    async def counts(self) -> dict[str, int]:
        counts = self.relay.counts
        return {"accepted": counts.accepted, "live": self.relay.live, "up": counts.up, "down": counts.down}


async def _main() -> None:
    server = _Server()
    names = ("start", "delay", "cut", "freeze", "refuse", "heal", "counts")
    await serve({name: getattr(server, name) for name in names})


if __name__ == "__main__":
    asyncio.run(_main())
