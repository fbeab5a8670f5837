"""Pure decisions: what state a service is in, given what supervisord and its own history say."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

State = Literal["running", "starting", "backoff", "stopped", "failed"]

# Three ends within ten minutes are no accident.
_LOOP_EXITS = 3
_LOOP_WINDOW = 600.0
# So much longer than the longest of its recent lives a service has to live before it is believed again.
_LONGER = 1.5
_LONGER_BY = 10.0


class Seen(NamedTuple):
    """`word`: supervisord's state name, None when it does not answer; `exits`: unasked ends, as in history.json."""

    word: str | None
    keeper: bool
    exits: list[dict[str, Any]]
    uptime: float | None
    healthy: bool | None


def service_state(seen: Seen, now: float) -> State:
    """The state that people are shown: a service that ends again and again has failed, it is not starting."""
    if seen.word is None:
        return "starting" if seen.keeper else "stopped"
    if seen.word == "FATAL":
        return "failed"
    if seen.word in {"STOPPED", "STOPPING", "UNKNOWN"}:
        return "stopped"
    if _loops(seen, now):
        return "failed"
    if seen.word in {"BACKOFF", "EXITED"}:
        return "backoff"
    return "running" if seen.word == "RUNNING" else "starting"


def _loops(seen: Seen, now: float) -> bool:
    recent = [item for item in seen.exits if now - float(item["at"]) <= _LOOP_WINDOW]
    if len(recent) < _LOOP_EXITS:
        return False
    if seen.word == "RUNNING" and seen.healthy:
        return False
    longest = max(float(item["seconds"]) for item in recent)
    return seen.uptime is None or seen.uptime <= longest * _LONGER + _LONGER_BY
