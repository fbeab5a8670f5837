"""A model hub that is ModelScope and Hugging Face at once, on one port of 127.0.0.1, with real files."""

from __future__ import annotations

from sim.hub.content import Bytes, Commit, Made, OnDisk, Repo, repo
from sim.hub.faults import HubFault, HubFaults, as_json
from sim.hub.server import HubServer, hub

__all__ = ["Bytes", "Commit", "HubFault", "HubFaults", "HubServer", "Made", "OnDisk", "Repo", "as_json", "hub", "repo"]
