"""The simulated CompShare: `CompshareSim` is an account with its boxes, `CompshareApp` its API over HTTP.

`with compshare() as sim:` runs it in threads of this process; `python -m sim.compshare` in a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, Unpack

from sim import renting_account
from sim.compshare.account import CompshareSim, Options, Settings
from sim.compshare.app import CompshareApp

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sim.clock import SimClock
    from sim.faults import FaultPlan
    from sim.machines import Machines

KEYS = ("simulated-public-key", "simulated-private-key-of-compshare")

Running: TypeAlias = renting_account.Running[CompshareSim]

__all__ = ["KEYS", "CompshareApp", "CompshareSim", "Options", "Running", "Settings", "compshare"]


def compshare(
    *,
    machines: Machines | None = None,
    clock: SimClock | None = None,
    faults: FaultPlan | None = None,
    **settings: Unpack[Options],
) -> AbstractContextManager[Running]:
    """An account with paper boxes, or `machines`; `settings` are the fields of `Settings`."""
    public, private = KEYS
    return renting_account.answering(
        lambda machines, clock, faults: CompshareSim(Settings(**settings), machines, clock, faults),
        lambda account: CompshareApp(account, KEYS),
        lambda url: {
            "GPUBOX_COMPSHARE_URL": url,
            "COMPSHARE_PUBLIC_KEY": public,
            "COMPSHARE_PRIVATE_KEY": private,
        },
        machines=machines,
        clock=clock,
        faults=faults,
    )
