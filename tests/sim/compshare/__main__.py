"""The simulated CompShare as a process of its own; see `sim.standalone`."""

from __future__ import annotations

from sim.compshare import compshare
from sim.standalone import run

if __name__ == "__main__":
    run(compshare)
