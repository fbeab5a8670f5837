"""What the role `guard` wrote for this box, checked."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class BadSettingsError(ValueError):
    """`settings.json` does not say what the guard has to know."""


class Settings(NamedTuple):
    """Times in seconds, `since` since the epoch; money in `currency`, per hour where it says so.

    `life`: with another value the box is another one, and everything is counted anew. `since`: from when on it lives
    and costs money; None: from the guard's first look on. The limits are None where there is none.
    """

    box: str
    life: str
    since: float | None
    ttl: float | None
    idle: float | None
    idle_gpu_percent: float
    budget: float | None
    price_per_hour: float | None
    currency: str
    spent_before: float
    warn: float
    interval: float
    ssh_server: str
    metrics_urls: tuple[str, ...]
    command: str
    snapshot_to: str
    paths: tuple[str, ...]
    before_stop_timeout: float
    stop_timeout: float
    power_off: tuple[str, ...]
    marker: str


def read(path: Path) -> Settings:
    """The settings in `path`. Raises `BadSettingsError`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        settings = _settings(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSettingsError(f"`{path}`: {error!r}") from error
    if not settings.power_off:
        raise BadSettingsError(f"`{path}`: `power_off` is empty")
    return settings


def seconds(duration: str | float | None) -> float | None:
    """`30m`, `8h`, `2d` or `45s` in seconds; None for nothing. Raises `ValueError`."""
    if duration is None or duration == "":
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", str(duration))
    if match is None:
        raise ValueError(f"{duration!r} is no time, as in 30m, 8h or 2d")
    return float(match[1]) * _UNITS[match[2]]


def _settings(data: dict[str, Any]) -> Settings:
    before = data["before_stop"]
    since = data["since"]
    return Settings(
        box=str(data["box"]),
        life=str(data["life"]),
        since=datetime.fromisoformat(since).timestamp() if since else None,
        ttl=seconds(data["ttl"]),
        idle=seconds(data["idle"]),
        idle_gpu_percent=float(data["idle_gpu_percent"]),
        budget=_number(data["budget"]),
        price_per_hour=_number(data["price_per_hour"]),
        currency=str(data["currency"]),
        spent_before=float(data["spent_before"]),
        warn=seconds(data["warn"]) or 0.0,
        interval=seconds(data["interval"]) or 1.0,
        ssh_server=str(data["ssh_server"]),
        metrics_urls=tuple(data["metrics_urls"]),
        command=str(before.get("command") or ""),
        snapshot_to=str(before.get("snapshot_to") or ""),
        paths=tuple(before.get("paths") or ()),
        before_stop_timeout=seconds(before.get("timeout") or "10m") or 0.0,
        stop_timeout=seconds(data["stop_timeout"]) or 0.0,
        power_off=tuple(str(word) for word in data["power_off"]),
        marker=str(data["marker"]),
    )


def _number(value: object) -> float | None:
    return None if value in (None, "") else float(str(value))
