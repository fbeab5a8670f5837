"""Variables of the role `ollama`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.converge.variables import models
from gpubox.converge.variables.common import section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile
    from gpubox.remote.facts import Facts


def variables(box: BoxFile, root: str, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:  # noqa: ARG001
    """What the box file says of Ollama; a `model` of one's own by where it lies, or will lie, on the box."""
    path = models.path(box, root)
    return section(box, "ollama") | ({"ollama_model_path": path} if path else {})
