"""What will be fetched: files with sizes and checksums, at one commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_fetch import choose, http, routes
from model_fetch.listing import RemoteFile

if TYPE_CHECKING:
    from model_fetch.listing import Listing
    from model_fetch.routes import Route
    from model_fetch.spec import Spec


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of one model. `revision`: a full commit where the hub told it (`pinned`), else what was asked for."""

    key: str
    name: str
    source: str
    id: str
    asked: str
    revision: str
    pinned: bool
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """For stdout, and for the next run."""
        return {
            "key": self.key, "name": self.name, "source": self.source, "id": self.id, "asked": self.asked,
            "revision": self.revision, "pinned": self.pinned, "bytes": self.bytes,
            "files": [file.as_json() for file in self.files],
        }  # fmt: skip


def from_json(data: dict[str, Any]) -> Plan:
    """The inverse of `Plan.as_json`. Raises `KeyError`, `TypeError`, `ValueError` for anything else."""
    words = {name: str(data[name]) for name in ("key", "name", "source", "id", "asked", "revision")}
    files = tuple(
        RemoteFile(str(item["path"]), int(item["size"]), str(item["sha256"]), str(item.get("git", "")))
        for item in data["files"]
    )
    return Plan(**words, pinned=bool(data["pinned"]), files=files)


def make(spec: Spec) -> tuple[Plan, Route, list[Route]]:
    """Ask the hub: the plan, the way that answered first, and all ways. Raises `Trouble`."""
    ways = routes.routes(spec.source, spec.settings)
    way, listing = routes.first(ways, lambda route: listed(route, spec.id, spec.revision))
    return planned(spec, listing), way, ways


def planned(spec: Spec, listing: Listing) -> Plan:
    """What of a listing is wanted. Raises `Asked`. Pure."""
    files = choose.choose(
        listing.files, include=spec.include, exclude=spec.exclude, quant=spec.quant, weights=spec.weights
    )
    return Plan(spec.key, spec.name, spec.source, spec.id, spec.revision, listing.revision, listing.pinned, files)


def listed(route: Route, repository: str, revision: str) -> Listing:
    """What that hub lists, that way. Raises `Trouble`."""
    return route.hub.list(http.getter(route.environment), repository, revision)
