"""What a page of the hub gets and gives."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sim.hub.content import Blob, Repo
    from sim.hub.faults import HubFaults


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; names of headers are lower case, the path is decoded, `url` is the hub's own."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    url: str

    @property
    def token(self) -> str | None:
        """As a bearer, or as the cookie that ModelScope's client sends."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and value:
            return value
        cookies = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return next((value for name, _, value in cookies if name == "m_session_id"), None)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file as a body. `on`: `<hub>/<stage>`; `full`: what the status is when the range was honoured."""

    on: str
    repo: str
    path: str
    blob: Blob
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Part = b""

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """As JSON."""
        body = json.dumps(value, ensure_ascii=False).encode()
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


@dataclass(frozen=True, slots=True)
class Hub:
    """What the pages know: repositories, faults, where the CDN is, and how ModelScope answers a range."""

    repos: dict[str, Repo]
    faults: HubFaults
    cdn: str
    range_status: int = 200


def content(asked: Asked, hub: Hub, part: Part, headers: Mapping[str, str], range_status: int = 206) -> Answer:
    """The file, or the range of it that was asked for; 416 behind its end."""
    size = part.blob.size
    wanted = asked.headers.get("range", "")
    length = hub.faults.take("no_length", part.on, part.path) is None
    ignored = wanted and hub.faults.take("ignores_range", part.on, part.path) is not None
    given = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    span = None if ignored or not wanted.startswith("bytes=") else _span(wanted.removeprefix("bytes="), size)
    if span is None:
        return Answer(200, given | ({"Content-Length": str(size)} if length else {}), part)
    start, stop = span
    if start >= stop:
        return Answer(416, {"Content-Range": f"bytes */{size}"}, b"")
    if length:
        given |= {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Content-Length": str(stop - start)}
    return Answer(range_status, given, Part(part.on, part.repo, part.path, part.blob, start, stop))


def _span(wanted: str, size: int) -> tuple[int, int] | None:
    first, dash, last = wanted.partition("-")
    if not dash or "," in wanted or not (first or last) or not (first + last).isdigit():
        return None
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
