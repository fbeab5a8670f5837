"""Variables of the role `model`: what is to be fetched, and where it will lie."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from gpubox.boxfile.models import ModelSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile


def variables(box: BoxFile, environ: Mapping[str, str]) -> dict[str, object]:  # noqa: ARG001
    """`model_downloads`: one mapping for each model that a job of the box fetches; nothing when there is none.

    `gpubox_model_job` is the job of the one that the engine serves.
    """
    model = box.model
    # What lies on the box, or is sent there before the converge (gpubox.model_copy), needs no download.
    if not isinstance(model, ModelSource) or model.source in ("path", "folder", "box"):
        return {}
    fields = model.model_dump(mode="json", exclude_none=True)
    wanted = {"name": name(model), **{field: value for field, value in fields.items() if value not in ([], {})}}
    return {"model_downloads": [wanted], "gpubox_model_job": f"model-{name(model)}"}


def name(model: ModelSource) -> str:
    """Name of the model's directory below `<root>/models`, and of its job after `model-`."""
    return PurePath(model.id or model.folder or model.path or "").name


def path(box: BoxFile, root: str) -> str | None:
    """The model's directory on the box; None where the box file names no model of a hub or a path."""
    if not isinstance(box.model, ModelSource):
        return None
    if box.model.source == "path" and box.model.path:
        return box.model.path.rstrip("/")
    return f"{root}/models/{name(box.model)}"
