"""A simulated provider as a process of its own: prints one JSON line with what a client needs, ends with its stdin.

Steered over `/_sim/` (see `sim.server`). `--real`: its boxes are test boxes, with this machine's network, so that they
find package indexes; else they are on paper. Its time is this machine's, as is that of the ledger which is to agree.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from sim.clock import SimClock
from sim.machines import PaperMachines, RealMachines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


class Served(Protocol):
    """A simulated provider that runs."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which gpubox finds it."""


def run(provider: Callable[..., AbstractContextManager[Served]]) -> None:
    """Serve until stdin is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true", help="test boxes behind it, not paper ones")
    parser.add_argument("--rate", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--deposit", type=Decimal, default=Decimal(100), help="yuan")
    options = parser.parse_args()
    clock = SimClock(datetime.now(UTC), rate=options.rate)
    machines = RealMachines(network="host") if options.real else PaperMachines(clock)
    with provider(machines=machines, clock=clock, deposit=options.deposit) as sim:
        sys.stdout.write(json.dumps(dict(sim.environment)) + "\n")
        sys.stdout.flush()
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in sim.environment.items())
        sys.stderr.write(f"in another terminal: export {exports}\nCtrl-D here ends it, with its boxes\n")
        sys.stdin.read()
