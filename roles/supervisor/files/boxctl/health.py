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
    """Whether a GET of `url` is answered below 400 within 1.5 s."""
    try:
        return get(url, timeout=_TIMEOUT)[0] < 400
    except (OSError, http.client.HTTPException, ValueError):
        return False


def get(url: str, *, timeout: float, size: int = 0) -> tuple[int, bytes]:
    """The status of a GET of `url`, and the first `size` bytes of what it answers; never by way of a proxy.

    Raises `OSError`, `http.client.HTTPException` and, for what is no URL, `ValueError`.
    """
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(place, timeout=timeout)
    try:
        connection.request("GET", slash + path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read(size) if size else b""
    finally:
        connection.close()
