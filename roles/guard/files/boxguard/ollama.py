"""When Ollama was last used. It has no /metrics, but each request moves the moment at which its model is unloaded."""

from __future__ import annotations

import http.client
import json
from datetime import datetime

_TIMEOUT = 5.0
_SIZE = 1 << 20


def last_use(port: int) -> float | None:
    """The latest `expires_at` of /api/ps, in seconds; None where nothing is loaded, and from what is no Ollama.

    It stands still while nobody asks: a request that is answered moves it, and one that makes a model load moves it at
    every look (server/sched.go of 0.32.7). A model that is unloaded is no request: then there is nothing to compare.
    """
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/api/ps")
            answer = connection.getresponse()
            text = answer.read(_SIZE)
        finally:
            connection.close()
        if answer.status != 200:
            return None
        return max((_seconds(item["expires_at"]) for item in json.loads(text)["models"]), default=None)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        # Its connections are counted all the same.
        return None


def _seconds(moment: str) -> float:
    """Of a moment as Go writes it, with nanoseconds, which Python 3.10 cannot read, and years that it cannot count."""
    date, _, rest = moment.partition(".")
    digits = rest[: next((number for number, sign in enumerate(rest) if not sign.isdigit()), len(rest))]
    zone = rest[len(digits) :].replace("Z", "+00:00")
    whole = datetime.fromisoformat((date.replace("Z", "+00:00") if not rest else date + zone) or moment)
    return whole.timestamp() + float(f"0.{digits or 0}")
