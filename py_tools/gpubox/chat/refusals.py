"""What an engine's refusals and broken links mean, as errors with what mends them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gpubox.errors import AuthFailed, Failed, GpuboxError, LinkLost, Unreachable, UsageError

if TYPE_CHECKING:
    import httpx

_STARTING = {502, 503, 504}


def refusal(base_url: str, status: int, body: bytes, *, model: str | None = None) -> GpuboxError:
    """The error for an HTTP status other than 200, with the engine's own words."""
    words = _words(body)
    said = f": {words}" if words else ""
    if status in (401, 403):
        return AuthFailed(
            f"the engine did not accept the API key{said}", where=base_url, hint="give the key it was started with"
        )
    if status == 404 and model is not None and model in words:
        return UsageError(
            f"the engine serves no model `{model}`{said}",
            where=base_url,
            hint=f"`{base_url}/models` lists its models",
        )
    if status == 404:
        return Failed(
            "what answers here has no chat API", where=base_url, hint="`gpubox status NAME` shows the engine's port"
        )
    if status in _STARTING:
        return Unreachable(
            f"the engine is not ready (HTTP {status}){said}",
            where=base_url,
            hint="see how far it is: `gpubox status NAME`",
        )
    if status >= 500:
        return Failed(f"the engine failed (HTTP {status}){said}", where=base_url, hint="`gpubox logs NAME` says why")
    return UsageError(f"the engine refused the request (HTTP {status}){said}", where=base_url)


def unreachable(base_url: str, error: httpx.HTTPError) -> Unreachable:
    """Nothing answered, or it hung up before it answered."""
    return Unreachable(
        f"no engine answers here: {error or type(error).__name__}",
        where=base_url,
        hint="`gpubox status NAME` says whether it runs, `gpubox tunnel NAME` brings it here",
    )


def cut(base_url: str, error: httpx.HTTPError | None, silence: float) -> LinkLost:
    """The answer began and did not come to its end."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        why = f"nothing came for {silence:g} s"
    else:
        why = str(error) if error else "the connection was closed before the end"
    return LinkLost(f"the answer was cut: {why}", where=base_url, hint="ask again; did it crash? `gpubox logs NAME`")


def _words(body: bytes) -> str:
    """The engine's own message, from any of the shapes in use; cut to one line of at most 300 characters."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        found = text if not text.startswith("<") else ""  # an HTML page says nothing
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return " ".join((found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)).split())[:300]
