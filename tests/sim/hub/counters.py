"""What a hub has sent, so that a test can say what was sent twice."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Sent:
    """Of one file: answers with a body, and the bytes of them that went out. `open`: being sent now."""

    requests: int = 0
    bytes: int = 0
    open: int = 0
    most_open: int = 0


class Counters:
    """Since the start, or the last `forget`; by hub and file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[str, str, str], Sent] = {}
        self._pages: Counter[str] = Counter()

    def begin(self, hub: str, repo: str, path: str) -> None:
        """A body begins."""
        with self._lock:
            sent = self._files.setdefault((hub, repo, path), Sent())
            sent.requests += 1
            sent.open += 1
            sent.most_open = max(sent.most_open, sent.open)

    def add(self, hub: str, repo: str, path: str, size: int) -> None:
        """More of it went out."""
        with self._lock:
            self._files.setdefault((hub, repo, path), Sent()).bytes += size

    def end(self, hub: str, repo: str, path: str) -> None:
        """The body ended, whole or not."""
        with self._lock:
            self._files.setdefault((hub, repo, path), Sent(open=1)).open -= 1

    def page(self, kind: str) -> None:
        """Anything else: `modelscope/list`, a redirect, a HEAD, an error."""
        with self._lock:
            self._pages[kind] += 1

    def sent(self, path: str | None = None, *, hub: str | None = None) -> int:
        """Bytes of all files, or of those; `hub`: `modelscope`, `huggingface`."""
        with self._lock:
            return sum(sent.bytes for key, sent in self._files.items() if _matches(key, path, hub))

    def requests(self, path: str | None = None, *, hub: str | None = None) -> int:
        """Answers with a body."""
        with self._lock:
            return sum(sent.requests for key, sent in self._files.items() if _matches(key, path, hub))

    def open(self) -> int:
        """Bodies that are being sent now."""
        with self._lock:
            return sum(sent.open for sent in self._files.values())

    def pages(self, kind: str) -> int:
        """Answers of that kind without a file as their body."""
        with self._lock:
            return self._pages[kind]

    def forget(self) -> None:
        """Begin at nothing; what is being sent now is still counted as open."""
        with self._lock:
            self._files = {key: Sent(open=sent.open) for key, sent in self._files.items() if sent.open}
            self._pages.clear()

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        with self._lock:
            files = [
                {"hub": hub, "repo": repo, "path": path, "requests": sent.requests, "bytes": sent.bytes,
                 "open": sent.open, "most_open": sent.most_open}
                for (hub, repo, path), sent in self._files.items()
            ]  # fmt: skip
            return {"files": files, "pages": dict(self._pages)}


def _matches(key: tuple[str, str, str], path: str | None, hub: str | None) -> bool:
    return (path is None or key[2] == path) and (hub is None or key[0] == hub)
