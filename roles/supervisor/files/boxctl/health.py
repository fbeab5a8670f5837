"""Asking services whether they are well."""

from __future__ import annotations

import http.client
import threading

_TIMEOUT = 1.5


def ask_all(urls: dict[str, str]) -> dict[str, bool]:
    """GET each URL at the same time, 1.5 s each at most; healthy is an answer below 400."""
    answers = dict.fromkeys(urls, False)

    def ask(name: str) -> None:
        answers[name] = healthy(urls[name])

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        # A name that is slow to resolve has no timeout of its own.
        thread.join(2 * _TIMEOUT)
    return dict(answers)


def healthy(url: str) -> bool:
    """Whether a GET of `url` is answered below 400 within 1.5 s. A proxy of the environment is never asked."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(place, timeout=_TIMEOUT)
        try:
            connection.request("GET", slash + path or "/")
            return connection.getresponse().status < 400
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return False
