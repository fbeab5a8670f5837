"""Ollama's HTTP API on this machine: https://github.com/ollama/ollama/blob/v0.32.7/docs/api.md."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

from ollama_fetch.errors import FetchError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Sentences of Ollama, and of registries, that asking again does not change.
_FINAL = {
    "file does not exist": "there is no such model; https://ollama.com/library lists names and tags",
    "not found": "there is no such model; https://ollama.com/library lists names and tags",
    "tag is not available": "the repository's page lists its quantizations",
    "invalid model name": "names are written model:tag, owner/model:tag or host/owner/model:tag",
    "newer version of ollama": "set a newer `ollama.version`",
    "no space left": "free some space, or choose a smaller tag",
    "unauthorized": "the registry gives it only to those who are allowed to have it",
    "requires mlx": "the tag is made for Apple's computers; choose another one",
}


class Api:
    """The server on a port of 127.0.0.1. A proxy of the environment is never asked."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> dict[str, Any]:
        """GET. Raises `TryAgainError` when nothing answers."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TryAgainError(f"Ollama does not answer: {error}") from error
        connection.close()
        return answer

    def stream(
        self, path: str, body: dict[str, Any], silence: Callable[[dict[str, Any]], float]
    ) -> Iterator[dict[str, Any]]:
        """POST, and every JSON line of the answer. `silence`: seconds that may pass after a line until the next.

        Raises `TryAgainError` when it breaks off or falls silent, `FetchError` for what stays as it is.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            while line := answer.readline():
                event: dict[str, Any] = json.loads(line)
                if "error" in event:
                    raise refusal(str(event["error"]))
                if connection.sock is not None:
                    connection.sock.settimeout(silence(event))
                yield event
        except TimeoutError as error:
            raise TryAgainError("Ollama fell silent") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TryAgainError(f"Ollama broke off: {error}") from error
        finally:
            # A closed connection makes Ollama write down how far it is.
            connection.close()

    def has_blob(self, digest: str) -> bool:
        """Whether the store has it."""
        return self._blob("HEAD", digest, None) == 200

    def put_blob(self, digest: str, path: Path) -> None:
        """Copy a file into the store. Raises `FetchError`."""
        with path.open("rb") as file:
            status = self._blob("POST", digest, file)
        if status not in (200, 201):
            raise FetchError(f"Ollama does not take `{path}`: HTTP {status}")

    def _blob(self, method: str, digest: str, body: Any) -> int:  # noqa: ANN401  # whatever http.client sends
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=3600)
        try:
            headers = {"Content-Length": str(_size(body))} if body is not None else {}
            connection.request(method, f"/api/blobs/{digest}", body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise TryAgainError(f"Ollama does not answer: {error}") from error
        finally:
            connection.close()


def refusal(words: str) -> Exception:
    """What an error of Ollama's means."""
    low = words.lower()
    for part, hint in _FINAL.items():
        if part in low:
            return FetchError(f"Ollama says: {words} ({hint})")
    return TryAgainError(f"Ollama says: {words}")


def _size(body: Any) -> int:  # noqa: ANN401
    import os

    return os.fstat(body.fileno()).st_size
