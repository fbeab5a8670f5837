"""What runs on this box, and whether it is what it shall be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boxctl import converge, files, guard, jobs, services
from boxctl.layout import CONVERGE

if TYPE_CHECKING:
    from boxctl.layout import Layout


def status(layout: Layout) -> dict[str, Any]:
    """`{"services", "jobs", "converge", "digest", "guard"}`."""
    run = converge.view(layout)
    return {
        "services": services.views(layout),
        "jobs": [_job(layout, name, run) for name in jobs.names(layout)],
        "converge": run,
        "digest": converge.digest(layout),
        "guard": guard.view(layout),
    }


def fresh(layout: Layout, digest: str) -> dict[str, Any]:
    """`status` with `fresh`, and the `reason` why not: nothing is to be done on a box that is what `digest` says."""
    seen = status(layout)
    reason = files.full(layout.root) or _stale(seen, digest)
    return {**seen, "fresh": reason is None, "reason": reason or "nothing to do"}


def _job(layout: Layout, name: str, run: dict[str, Any] | None) -> dict[str, Any]:
    view = jobs.view(layout, name)
    if name == CONVERGE and run and run["error"]:
        # The last line of its log is Ansible's count of tasks; the failed one's own words say more.
        view["last_error"] = run["error"].splitlines()[0]
    return view


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
