"""Pure decisions: what state a service is in, given what supervisord and its own history say."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

State = Literal["running", "starting", "backoff", "stopped", "failed"]

# Two ends within ten minutes are no accident, and each further try costs minutes with a large model.
_LOOP_EXITS = 2
_LOOP_WINDOW = 600.0
# So much longer than the longest of its recent lives a service has to live before it is believed again.
_LONGER = 1.5
_LONGER_BY = 10.0
# supervisord pauses, longer each time, only before starts that fail within their `startsecs`; the others are ours.
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0


class Seen(NamedTuple):
    """What is known of a service.

    `word`: supervisord's state name, None when it does not answer; `exits`: unasked ends, as in history.json;
    `uptime`: seconds, None while the program itself does not run.
    """

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
    if seen.word in {"BACKOFF", "EXITED"} or (seen.uptime is None and seen.exits):
        return "backoff"
    return "running" if seen.word == "RUNNING" else "starting"


def pause(exits: list[dict[str, Any]], start_seconds: float, now: float) -> float:
    """Seconds to wait before the next start: none after the first end, then doubling up to a minute."""
    recent = [item for item in exits if now - float(item["at"]) <= _LOOP_WINDOW]
    if len(recent) < _LOOP_EXITS or float(recent[-1]["seconds"]) < start_seconds:
        return 0.0
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (len(recent) - _LOOP_EXITS))


def _loops(seen: Seen, now: float) -> bool:
    recent = [item for item in seen.exits if now - float(item["at"]) <= _LOOP_WINDOW]
    if len(recent) < _LOOP_EXITS:
        return False
    if seen.word == "RUNNING" and seen.healthy:
        return False
    longest = max(float(item["seconds"]) for item in recent)
    return seen.uptime is None or seen.uptime <= longest * _LONGER + _LONGER_BY
