"""Other hubs that have the same model: asked when the first one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_fetch import plan, routes
from model_fetch.errors import Trouble

if TYPE_CHECKING:
    from model_fetch.plan import Plan
    from model_fetch.routes import Route
    from model_fetch.spec import Spec


def find(spec: Spec, wanted: Plan) -> tuple[list[Route], list[str]]:
    """Ways to hubs that list files of `wanted` with the same checksums, and a line for each hub that was asked.

    Their newest revision is asked: commits are a hub's own. Each file is compared by checksum, never by name alone.
    """
    found: list[Route] = []
    said: list[str] = []
    for source in ("modelscope", "huggingface"):
        if source == spec.source:
            continue
        ways = routes.routes(source, spec.settings)
        try:
            way, listing = routes.first(ways, lambda route: plan.listed(route, spec.id, ""))
        except Trouble as error:
            said.append(f"no other source: {error}")
            continue
        listed = {file.path: file for file in listing.files}
        same = [file for file in wanted.files if file.path in listed and not file.contradicts(listed[file.path])]
        said.append(f"{way.hub.label} has {len(same)} of {len(wanted.files)} files with the same size and checksum")
        for route in [way, *(route for route in ways if route is not way)]:
            route.revision, route.listed = listing.revision, listed
            found.append(route)
    return found, said
