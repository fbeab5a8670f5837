"""Variables of the role `model`: what is to be fetched, and where it will lie."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gpubox.boxfile.models import ModelSource
from gpubox.converge.variables import ktransformers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile

_HUBS = ("modelscope", "huggingface")
# Of this machine's environment, called as the hubs' own clients call them; and the role's variables, which are for
# boxes, not for argv: a token travels as a secret.
_ENVIRONMENT = {
    "MODELSCOPE_ENDPOINT": "modelscope_endpoint",
    "HF_ENDPOINT": "huggingface_endpoint",
    "MODELSCOPE_API_TOKEN": "modelscope_token",
    "HF_TOKEN": "huggingface_token",
}


def variables(box: BoxFile, environ: Mapping[str, str]) -> dict[str, object]:
    """`model_downloads`: one mapping for each model that a job of the box fetches; nothing when there is none.

    `gpubox_model_job` is the job of the one that the engine serves.
    """
    found = downloads(box)
    if not found:
        return {}
    served = _served(box)
    return {
        "model_downloads": found,
        **({"gpubox_model_job": f"model-{served[0]['name']}"} if served else {}),
        **{f"model_{name}": value for name, value in _environment(box, environ).items()},
    }


def downloads(box: BoxFile) -> list[dict[str, Any]]:
    """What jobs of the box fetch, or wait for: the model that the engine serves, and what the engine needs besides."""
    return [*_served(box), *ktransformers.downloads(box)]


def specs(box: BoxFile, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same for the role's program on this machine: what it says of a model without fetching it."""
    settings = _environment(box, environ)
    return [{**download, **settings} for download in downloads(box) if download["source"] in _HUBS]


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


def _served(box: BoxFile) -> list[dict[str, Any]]:
    model = box.model
    if not isinstance(model, ModelSource):
        return []
    if model.source in ("folder", "box"):
        # Sent there beside the converge (gpubox.model_copy), whose job waits for it.
        origin = model.folder if model.source == "folder" else f"{model.box}:{model.path}"
        return [{"name": name(model), "source": "copied", "id": origin}]
    if model.source not in _HUBS:
        return []
    fields = model.model_dump(mode="json", exclude_none=True)
    return [{"name": name(model), **{field: value for field, value in fields.items() if value not in ([], {})}}]


def _environment(box: BoxFile, environ: Mapping[str, str]) -> dict[str, str]:
    found = {role: environ[variable].strip() for variable, role in _ENVIRONMENT.items() if environ.get(variable)}
    # A token goes to a box only for a hub that the box asks.
    used = {download["source"] for download in downloads(box)}
    return {
        role: value for role, value in found.items() if not role.endswith("_token") or role[: -len("_token")] in used
    }
