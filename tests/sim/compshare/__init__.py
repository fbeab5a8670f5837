"""The simulated CompShare: `CompshareSim` is an account with its boxes, `CompshareApp` its API over HTTP.

`with compshare() as sim:` runs it in threads of this process; `python -m sim.compshare` in a process of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from sim.clock import SimClock
from sim.compshare.account import CompshareSim, Options, Settings
from sim.compshare.app import CompshareApp
from sim.faults import FaultPlan
from sim.machines import PaperMachines
from sim.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sim.machines import Machines

KEYS = ("simulated-public-key", "simulated-private-key-of-compshare")

__all__ = ["KEYS", "CompshareApp", "CompshareSim", "Options", "Running", "Settings", "compshare"]


@dataclass(frozen=True, slots=True)
class Running:
    """A simulated CompShare that answers at `url`."""

    url: str
    server: Server
    account: CompshareSim
    faults: FaultPlan
    clock: SimClock
    machines: Machines

    @property
    def environment(self) -> dict[str, str]:
        """What a gpubox in another process needs to find it."""
        public, private = KEYS
        return {
            "GPUBOX_COMPSHARE_URL": self.url,
            "COMPSHARE_PUBLIC_KEY": public,
            "COMPSHARE_PRIVATE_KEY": private,
        }


@contextmanager
def compshare(
    *,
    machines: Machines | None = None,
    clock: SimClock | None = None,
    faults: FaultPlan | None = None,
    **settings: Unpack[Options],
) -> Iterator[Running]:
    """An account with paper boxes, or `machines`; `settings` are the fields of `Settings`."""
    clock = clock or SimClock()
    faults = faults or FaultPlan()
    machines = machines or PaperMachines(clock)
    account = CompshareSim(Settings(**settings), machines, clock, faults)
    try:
        with serve(CompshareApp(account, KEYS)) as server:
            yield Running(server.url, server, account, faults, clock, machines)
    finally:
        account.close()
