"""The simulated AutoDL: `AutodlSim` is an account with its boxes, `AutodlApp` its Pro API over HTTP.

`with autodl() as sim:` runs it in threads of this process; `python -m sim.autodl` in a process of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from sim.autodl.account import AutodlSim, Options, Settings
from sim.autodl.app import AutodlApp
from sim.clock import SimClock
from sim.faults import FaultPlan
from sim.machines import PaperMachines
from sim.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sim.machines import Machines

TOKEN = "simulated-developer-token-of-autodl"

__all__ = ["TOKEN", "AutodlApp", "AutodlSim", "Options", "Running", "Settings", "autodl"]


@dataclass(frozen=True, slots=True)
class Running:
    """A simulated AutoDL that answers at `url`."""

    url: str
    server: Server
    account: AutodlSim
    faults: FaultPlan
    clock: SimClock
    machines: Machines

    @property
    def environment(self) -> dict[str, str]:
        """What a gpubox in another process needs to find it."""
        return {"GPUBOX_AUTODL_URL": self.url, "AUTODL_TOKEN": TOKEN}


@contextmanager
def autodl(
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
    account = AutodlSim(Settings(**settings), machines, clock, faults)
    try:
        with serve(AutodlApp(account, TOKEN)) as server:
            yield Running(server.url, server, account, faults, clock, machines)
    finally:
        account.close()
