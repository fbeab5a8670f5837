"""What Ollama's models come to before they are pulled: the manifests of the registries that `ollama pull` asks.

A registry is an OCI one, as in `GET https://registry.ollama.ai/v2/library/deepseek-r1/manifests/8b`; its manifest lists
the layers with their sizes (server/images.go of Ollama 0.32.7).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

from gpubox.errors import AuthFailed, GpuboxError, Unreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of this machine: where manifests of Ollama's own registry are asked for instead, as a mirror has them.
VARIABLE = "GPUBOX_OLLAMA_REGISTRY"
_HOST = "registry.ollama.ai"
_TYPES = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_NAME = re.compile(r"^[\w.:-]+(/[\w.-]+){0,2}(:[\w.-]+)?$")
_TIMEOUT = 30.0
_LONGEST = 1 << 20


class Size(NamedTuple):
    """Of one model: its layers, and their bytes together."""

    layers: int
    bytes: int


def size(model: str, environ: Mapping[str, str] = os.environ) -> Size:
    """Of `model`, as box files name it: `name:tag`, `owner/name:tag` or `host/owner/name:tag`.

    Raises `UsageError` where there is no such model, `AuthFailed` and `Unreachable`.
    """
    url = address(model, environ.get(VARIABLE, "").strip())
    request = urllib.request.Request(url, headers={"Accept": _TYPES})  # noqa: S310 - https, or the variable's own
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            manifest = json.loads(answer.read(_LONGEST))
        layers = [*manifest["layers"], *([manifest["config"]] if "config" in manifest else [])]
        return Size(len(layers), sum(int(layer["size"]) for layer in layers))
    except urllib.error.HTTPError as error:
        raise _refused(model, url, error.code) from error
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        host = url.split("/")[2]
        raise Unreachable(f"{host} does not say how large `{model}` is: {getattr(error, 'reason', error)}") from error


def address(model: str, mirror: str = "") -> str:
    """Where the manifest of a model is. Raises `UsageError` for what is no name."""
    if not _NAME.match(model):
        hint = "as in deepseek-r1:8b, owner/name:tag or host/owner/name:tag"
        raise UsageError(f"`{model}` is no name of a model", where="ollama.models", hint=hint)
    path, colon, tag = model.rpartition(":")
    if not colon or "/" in tag:
        path, tag = model, "latest"
    parts = path.split("/")
    host = parts.pop(0) if len(parts) == 3 else _HOST
    base = mirror.rstrip("/") if mirror and host == _HOST else f"https://{host}"
    owner, name = parts if len(parts) == 2 else ("library", parts[0])
    return f"{base}/v2/{owner}/{name}/manifests/{tag}"


def _refused(model: str, url: str, code: int) -> GpuboxError:
    host = url.split("/")[2]
    if code == 404:
        hint = "https://ollama.com/library lists names and tags"
        return UsageError(f"{host} has no model `{model}`", where="ollama.models", hint=hint)
    if code in (401, 403):
        return AuthFailed(f"{host} does not show `{model}` to everybody")
    return Unreachable(f"{host} answers with HTTP {code} for `{model}`")
