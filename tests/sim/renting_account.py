"""A simulated provider's account that answers over HTTP, whichever provider it is of."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sim.clock import SimClock
from sim.faults import FaultPlan
from sim.machines import PaperMachines
from sim.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sim.machines import Machines
    from sim.server import App, Server


class Closing(Protocol):
    """An account: its boxes end with it."""

    def close(self) -> None:
        """End every box."""


Account = TypeVar("Account", bound=Closing)


@dataclass(frozen=True, slots=True)
class Running(Generic[Account]):
    """A simulated provider that answers at `url`; `environment`: what a gpubox in another process finds it by."""

    url: str
    server: Server
    account: Account
    faults: FaultPlan
    clock: SimClock
    machines: Machines
    environment: Mapping[str, str]


@contextmanager
def answering(
    account_of: Callable[[Machines, SimClock, FaultPlan], Account],
    app_of: Callable[[Account], App],
    environment_of: Callable[[str], Mapping[str, str]],
    *,
    machines: Machines | None,
    clock: SimClock | None,
    faults: FaultPlan | None,
) -> Iterator[Running[Account]]:
    """The account over its API, in threads of this process; paper boxes unless there are `machines`."""
    clock = clock or SimClock()
    faults = faults or FaultPlan()
    machines = machines or PaperMachines(clock)
    account = account_of(machines, clock, faults)
    try:
        with serve(app_of(account)) as server:
            yield Running(server.url, server, account, faults, clock, machines, environment_of(server.url))
    finally:
        account.close()
