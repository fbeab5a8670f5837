"""The engines behind the web UI: which of them answer. One that does not is said, and is no failure."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from webui_box.errors import Trouble

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 5.0


def look(root: Path, service: str) -> tuple[list[str], list[str]]:
    """A sentence for each engine that gives no models, and the addresses of those that do.

    Addresses and keys are read where the service has them (0600): they travel in no command line. Raises `Trouble`.
    """
    file = root / "services" / service / "service.json"
    try:
        environment = json.loads(file.read_text(encoding="utf-8"))["env"]
    except (OSError, ValueError, KeyError) as error:
        raise Trouble(f"`{file}` cannot be read: {error}") from None
    urls = environment.get("OPENAI_API_BASE_URLS", "").split(";")
    keys = environment.get("OPENAI_API_KEYS", "").split(";")
    notes, up = [], []
    for number, url in enumerate(filter(None, urls)):
        problem = _problem(url, keys[number] if number < len(keys) else "")
        if problem:
            notes.append(f"the engine at {url} {problem}; the web UI shows its models when it does")
        else:
            up.append(url)
    return notes, up


def _problem(url: str, key: str) -> str:
    request = urllib.request.Request(f"{url.rstrip('/')}/models")  # noqa: S310 - the role lets only http(s) through
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    # Without this a proxy of the box's environment would be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            models = json.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            return f"refuses the `api_key` in `open_webui_engines` (HTTP {error.code})"
        return f"answers HTTP {error.code}"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        return f"does not answer ({getattr(error, 'reason', error)})"
    return "" if models else "serves no model yet"
