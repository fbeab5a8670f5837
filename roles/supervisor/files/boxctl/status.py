"""What runs on this box, and whether it is what it shall be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boxctl import converge, jobs, services

if TYPE_CHECKING:
    from boxctl.layout import Layout


def status(layout: Layout) -> dict[str, Any]:
    """`{"services", "jobs", "converge", "digest"}`."""
    return {
        "services": services.views(layout),
        "jobs": [jobs.view(layout, name) for name in jobs.names(layout)],
        "converge": converge.view(layout),
        "digest": converge.digest(layout),
    }


def fresh(layout: Layout, digest: str) -> dict[str, Any]:
    """`status` with `fresh`, and the `reason` why not: nothing is to be done on a box that is what `digest` says."""
    seen = status(layout)
    reason = _stale(seen, digest)
    return {**seen, "fresh": reason is None, "reason": reason or "nothing to do"}


def _stale(seen: dict[str, Any], digest: str) -> str | None:
    run = seen["converge"]
    if run and run["state"] == "running":
        return f"the converge `{run['id']}` is under way"
    if seen["digest"] is None:
        return "the last converge did not end well" if run else "never converged"
    if seen["digest"] != digest:
        return "the bundle or the variables have changed"
    for service in seen["services"]:
        if service["state"] != "running":
            return f"service `{service['name']}` is {service['state']}"
        if service["healthy"] is False:
            return f"service `{service['name']}` does not answer at its health URL"
    return None
