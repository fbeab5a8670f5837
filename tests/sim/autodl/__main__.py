"""The simulated AutoDL as a process of its own; see `sim.standalone`."""

from __future__ import annotations

from sim.autodl import autodl
from sim.standalone import run

if __name__ == "__main__":
    run(autodl)
