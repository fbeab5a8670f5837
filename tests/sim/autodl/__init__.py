"""The simulated AutoDL: `AutodlSim` is an account with its boxes, `AutodlApp` its Pro API over HTTP.

`with autodl() as sim:` runs it in threads of this process; `python -m sim.autodl` in a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, Unpack

from sim import renting_account
from sim.autodl.account import AutodlSim, Options, Settings
from sim.autodl.app import AutodlApp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sim.clock import SimClock
    from sim.faults import FaultPlan
    from sim.machines import Machines

TOKEN = "simulated-developer-token-of-autodl"

Running: TypeAlias = renting_account.Running[AutodlSim]

__all__ = ["TOKEN", "AutodlApp", "AutodlSim", "Options", "Running", "Settings", "autodl"]


def autodl(
    *,
    machines: Machines | None = None,
    clock: SimClock | None = None,
    faults: FaultPlan | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Running]:
    """An account with paper boxes, or `machines`; `settings` are the fields of `Settings`."""
    return renting_account.answering(
        lambda machines, clock, faults: AutodlSim(Settings(**settings), machines, clock, faults),
        lambda account: AutodlApp(account, TOKEN),
        lambda url: {"GPUBOX_AUTODL_URL": url, "AUTODL_TOKEN": TOKEN},
        machines=machines,
        clock=clock,
        faults=faults,
    )
