"""Variables of the role `ktransformers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.converge.variables.common import section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile
    from gpubox.remote.facts import Facts


def variables(box: BoxFile, root: str, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:  # noqa: ARG001
    """What the box file says of ktransformers."""
    return section(box, "ktransformers")
