"""What the guard does on each look: one story per file in fixtures/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from boxguard.decide import Memory, Now, Orders, answers_until, step, view
from boxguard.judge import Seen, judge
from boxguard.settings import Settings, seconds

CASES = sorted((Path(__file__).parent / "fixtures").glob("*.yml"))
# Looks are at so many seconds after this moment.
START = 1_700_000_000.0
QUIET: dict[str, Any] = {"sessions": 0, "jobs": {}, "requests": 0, "counters": {}, "gpus": [], "unknown": []}


def at(text: str | float) -> float:
    """`7h50m` in seconds."""
    return sum((seconds(part) or 0.0 for part in re.findall(r"[0-9.]+[smhd]", str(text))), 0.0)


def made(given: dict[str, Any]) -> Settings:
    times = {name: seconds(given.get(name)) for name in ("ttl", "idle")}
    since = given.get("since")
    return Settings(
        box="box",
        life=given.get("life", "one"),
        since=START + at(since) if since is not None else None,
        ttl=times["ttl"],
        idle=times["idle"],
        idle_gpu_percent=given.get("idle_gpu_percent", 5),
        budget=given.get("budget"),
        price_per_hour=given.get("price_per_hour"),
        currency="CNY",
        spent_before=given.get("spent_before", 0.0),
        warn=seconds(given.get("warn", "10m")) or 0,
        interval=30,
        ssh_server="sshd",
        metrics_urls=(),
        command="",
        snapshot_to="",
        paths=(),
        before_stop_timeout=600,
        stop_timeout=90,
        power_off=("true",),
        marker="",
    )


class Box:
    """A box and its guard, which are told and shown what a story says."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.given = dict(settings)
        self.memory: Memory | None = None
        self.seen = dict(QUIET)
        self.orders = Orders()
        self.boot = ("boot 1", START - 60)

    def look(self, look: dict[str, Any]) -> dict[str, Any]:
        """One look; what the story may ask about it, moments as seconds since the start."""
        self.given |= look.get("settings", {})
        self.seen |= look.get("seen", {})
        now, settings, seen = START + at(look["at"]), made(self.given), Seen(**self.seen)
        if "booted" in look:
            self.boot = (f"boot at {look['booted']}", START + at(look["booted"]))
        self.orders = self.orders._replace(**self._told(look.get("orders", {}), now))
        boot = Now(now, *self.boot)
        done = step(settings, self.orders, self.memory, seen, boot, stopped=look.get("stopped", False))
        # It is written to disk and read again between any two looks.
        self.memory = Memory(**json.loads(json.dumps(done.memory._asdict())))
        shown = view(settings, self.orders, done, seen, now)
        deadlines = {limit.reason: limit.at for limit in done.deadlines}
        return {
            "acts": [f"{act.kind} {act.reason}" for act in done.acts],
            "words": " ".join(act.words for act in done.acts),
            "fires": {reason: round(moment - START) for reason, moment in done.fires.items()},
            "guard_at": round((shown["guard_at"] or 0) - START),
            "idle_at": round(deadlines.get("idle", 0) - START),
            "answers": round(answers_until(settings, done, now) - START),
            **{name: shown[name] for name in ("stage", "busy", "unknown")},
            "spent": pytest.approx(shown["spent"], abs=0.001),
        }

    @staticmethod
    def _told(told: dict[str, Any], now: float) -> dict[str, Any]:
        orders = dict(told)
        if "extended" in told:
            orders |= {"extended": at(told["extended"]), "hold_until": START + at(told["hold_until"])}
        if "spent" in told:
            orders["spent_at"] = now
        return orders


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    story = yaml.safe_load(path.read_text())
    box = Box(story["settings"])
    for look in story["looks"]:
        found = box.look(look)
        wanted = {"acts": look.get("acts", [])} | {name: look[name] for name in found if name in look}
        for name in {"guard_at", "idle_at", "answers"} & wanted.keys():
            wanted[name] = at(wanted[name])
        if "fires" in wanted:
            wanted["fires"] = {reason: at(value) for reason, value in wanted["fires"].items()}
        words = wanted.pop("words", [])
        assert {name: found[name] for name in wanted} == wanted, f"look at {look['at']}"
        assert not [part for part in words if part not in found["words"]], found["words"]


def test_what_cannot_be_told_is_not_idle() -> None:
    """Every fact alone can keep the box on, even when nobody says why it is missing."""
    assert judge(Seen(**QUIET), None, 5).idle
    for name in ("sessions", "jobs", "requests", "gpus"):
        use = judge(Seen(**{**QUIET, name: None}), None, 5)
        assert not use.idle, name
        assert use.unknown, name
