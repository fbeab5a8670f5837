"""What a service or a job shall be, checked: a misspelt field is an error, not a default."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from boxctl.errors import UsageError


class Service(NamedTuple):
    """A lasting program. `start_seconds`: how long it must run to count as started; `stop_seconds`: TERM to KILL."""

    argv: list[str]
    env: dict[str, str] = {}  # noqa: RUF012 - never changed
    cwd: str | None = None
    port: int | None = None
    health_url: str | None = None
    start_seconds: int = 5
    stop_seconds: int = 30
    precious: list[str] = []  # noqa: RUF012
    description: str = ""


class Job(NamedTuple):
    """A program that ends. The same `key` means the same work: what is done is not done again."""

    key: str
    argv: list[str]
    env: dict[str, str] = {}  # noqa: RUF012
    cwd: str | None = None
    precious: list[str] = []  # noqa: RUF012
    description: str = ""
    progress_file: str | None = None
    stop_seconds: int = 10


_TEXT = {"key", "description", "cwd", "health_url", "progress_file"}
_WHOLE = {"port", "start_seconds", "stop_seconds"}
_OPTIONAL = {"cwd", "port", "health_url", "progress_file"}


def service(text: str) -> Service:
    """Read a service spec. Raises `UsageError` naming every mistake."""
    return Service(**_checked(text, Service._fields, required={"argv"}))


def job(text: str) -> Job:
    """Read a job spec. Raises `UsageError` naming every mistake."""
    return Job(**_checked(text, Job._fields, required={"key", "argv"}))


def _checked(text: str, fields: tuple[str, ...], *, required: set[str]) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the spec on stdin is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError("the spec on stdin is no JSON object")
    mistakes = [f"`{name}` is unknown (there is: {', '.join(fields)})" for name in data if name not in fields]
    mistakes += [f"`{name}` is missing" for name in sorted(required) if not data.get(name)]
    for name, value in data.items():
        if name in fields and not (value is None and name in _OPTIONAL):
            mistakes += _mistakes(name, value)
    if mistakes:
        raise UsageError("the spec on stdin is wrong: " + "; ".join(mistakes))
    return data


def _mistakes(name: str, value: object) -> list[str]:
    if name in _TEXT and not isinstance(value, str):
        return [f"`{name}` has to be text"]
    if name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return [f"`{name}` has to be a whole number, 0 or more"]
    if name in {"argv", "precious"} and not _texts(value):
        return [f"`{name}` has to be a list of texts"]
    if name == "env" and not (isinstance(value, dict) and _texts(list(value.values()))):
        return ["`env` has to map names to texts"]
    return []


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and "\0" not in item for item in value)
