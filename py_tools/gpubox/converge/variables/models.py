"""Variables of the role `model`: what is to be fetched, and where it will lie."""

from __future__ import annotations

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
    if not isinstance(model, ModelSource) or model.path is not None:
        return {}
    fields = model.model_dump(mode="json", exclude_none=True)
    wanted = {"name": name(model), **{field: value for field, value in fields.items() if value not in ([], {})}}
    return {"model_downloads": [wanted], "gpubox_model_job": f"model-{name(model)}"}


def name(model: ModelSource) -> str:
    """Name of the model's directory below `<root>/models`, and of its job after `model-`."""
    return (model.id or "").rpartition("/")[2]


def path(box: BoxFile, root: str) -> str | None:
    """The model's directory on the box; None where the box file names no model of a hub or a path."""
    if not isinstance(box.model, ModelSource):
        return None
    return box.model.path.rstrip("/") if box.model.path else f"{root}/models/{name(box.model)}"
