"""Pure: from what the guard was told, remembers and has seen to what it does now."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from boxguard.judge import Seen, Use, judge
from boxguard.settings import Settings  # noqa: TC001 - one place says what all this is about

Reason = Literal["ttl", "idle", "budget"]

# Who has not looked for so many intervals cannot say that nothing happened meanwhile.
_BLIND_INTERVALS = 4
_BLIND_LEAST = 60.0
# The last word in every terminal, so long before the end.
_LAST_CALL = 60.0
# A job that took so long, in seconds, is one that somebody waits for.
_LONG_JOB = 300.0


class Orders(NamedTuple):
    """What people have told it since (`boxctl guard`). `at` is when, `spent` the money that the ledger knows of."""

    serial: int = 0
    extended: float = 0.0
    hold_until: float = 0.0
    off: bool = False
    spent: float | None = None
    spent_at: float = 0.0


class Memory(NamedTuple):
    """What outlives restarts and power cycles. `warned`: since when there has been a warning, by reason."""

    life: str
    started: float
    boot: str
    awake: float
    looked: float
    spent: float
    told: float
    quiet_since: float | None
    counters: dict[str, float] | None
    warned: dict[str, float]
    called: bool
    jobs: dict[str, float]


class Deadline(NamedTuple):
    """When a limit is reached, and how long before that it has to be said."""

    reason: Reason
    at: float
    notice: float


class Act(NamedTuple):
    """`warn`, `last-call`, `called-off`, `job`: to be said. `stop`: power off. `words` for people."""

    kind: Literal["warn", "last-call", "called-off", "job", "stop"]
    reason: str
    words: str


class Step(NamedTuple):
    """What comes of one look."""

    memory: Memory
    use: Use
    deadlines: list[Deadline]
    fires: dict[str, float]
    acts: list[Act]


class Now(NamedTuple):
    """The time, this boot of the box, and when that began."""

    time: float
    boot: str
    booted: float


def step(
    settings: Settings, orders: Orders, memory: Memory | None, seen: Seen, now: Now, *, stopped: bool = False
) -> Step:
    """One look: count time and money, find who uses the box, warn, and say when to power off.

    `stopped`: everything was stopped since the last look, so that nothing can have used it meanwhile.
    """
    if memory is None or memory.life != settings.life:
        memory = _born(settings, now)
    blind = not stopped and now.time - memory.looked > max(_BLIND_LEAST, _BLIND_INTERVALS * settings.interval)
    memory = _counted(settings, orders, memory, now)
    if memory.boot != now.boot:
        memory = memory._replace(
            boot=now.boot, awake=now.time, quiet_since=None, counters=None, warned={}, called=False
        )
    use = judge(seen, memory.counters, settings.idle_gpu_percent)
    quiet = (now.time if blind or memory.quiet_since is None else memory.quiet_since) if use.idle else None
    jobs, acts = _jobs(memory.jobs, seen, now.time)
    # An engine that is stopped for a while goes on where it was.
    counters = {**(memory.counters or {}), **seen.counters}
    memory = memory._replace(quiet_since=quiet, counters=counters, looked=now.time, jobs=jobs)
    limits = [] if orders.off else deadlines(settings, orders, memory, now.time)
    due = {limit.reason: limit for limit in limits if now.time >= limit.at - limit.notice}
    warned: dict[str, float] = {reason: memory.warned.get(reason, now.time) for reason in due}
    fires: dict[str, float] = {reason: max(limit.at, warned[reason] + limit.notice) for reason, limit in due.items()}
    acts += _said(settings, memory.warned, fires, now.time)
    called = memory.called and bool(fires)
    if fires and not called and min(fires.values()) - now.time <= _LAST_CALL:
        called = True
        if settings.warn >= 2 * _LAST_CALL and set(fires) <= set(memory.warned):
            first = min(fires, key=lambda reason: fires[reason])
            acts.append(Act("last-call", first, _warning(settings, first, fires[first] - now.time)))
    over = [reason for reason in fires if now.time >= fires[reason]]
    if over:
        first = min(over, key=lambda reason: fires[reason])
        acts.append(Act("stop", first, why(settings, first)))
    return Step(memory._replace(warned=warned, called=called), use, limits, fires, acts)


def deadlines(settings: Settings, orders: Orders, memory: Memory, now: float) -> list[Deadline]:
    """Every limit that is being watched, with the time at which it will be reached as things stand."""
    found = []
    if settings.ttl is not None:
        at = memory.started + settings.ttl + orders.extended
        found.append(Deadline("ttl", at, _notice(settings.warn, settings.ttl)))
    if settings.budget is not None and settings.price_per_hour:
        rate = settings.price_per_hour / 3600
        at = now + (settings.budget - memory.spent) / rate
        found.append(Deadline("budget", at, _notice(settings.warn, settings.budget / rate)))
    if settings.idle is not None and memory.quiet_since is not None:
        at = max(memory.quiet_since + settings.idle, orders.hold_until)
        found.append(Deadline("idle", at, _notice(settings.warn, settings.idle)))
    return found


def answers_until(settings: Settings, done: Step, now: float) -> float:
    """Until when the first guard need not act although it should hear nothing more from this one."""
    least = now + max(900.0, 10 * settings.interval)
    return max([least, *(limit.at for limit in done.deadlines if limit.reason == "ttl")])


def why(settings: Settings, reason: str) -> str:
    """The reason as a sentence."""
    if reason == "ttl":
        return f"its time to live of {span(settings.ttl or 0)} is over"
    if reason == "idle":
        return f"nothing has used it for {span(settings.idle or 0)}"
    return f"its budget of {settings.budget:g} {settings.currency} is spent".replace("  ", " ")


def span(seconds: float) -> str:
    """`8 h`, `1 h 30 min`, `45 s`."""
    whole = max(0, round(seconds))
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"


def view(settings: Settings, orders: Orders, done: Step, seen: Seen, now: float) -> dict[str, Any]:
    """What `boxctl guard` shows. Moments are seconds since the epoch, spans are seconds."""
    memory = done.memory
    first = min(done.fires, key=lambda reason: done.fires[reason]) if done.fires else None
    surest = [done.fires.get(limit.reason, limit.at) for limit in done.deadlines if limit.reason != "idle"]
    stopping = any(act.kind == "stop" for act in done.acts)
    return {
        "stage": "off" if orders.off else "stopping" if stopping else "warned" if first else "watching",
        "reason": first,
        "why": why(settings, first) if first else None,
        "fires_at": done.fires[first] if first else None,
        # The latest moment at which it powers off, whatever happens: what `gpubox ls` shows.
        "guard_at": min([*done.fires.values(), *surest], default=None),
        "deadlines": {limit.reason: limit.at for limit in done.deadlines},
        "limits": {"ttl": settings.ttl, "idle": settings.idle, "budget": settings.budget, "warn": settings.warn},
        "started_at": memory.started,
        "extended_s": orders.extended,
        "idle_s": now - memory.quiet_since if memory.quiet_since is not None else None,
        "busy": done.use.busy,
        "unknown": done.use.unknown,
        "sessions": seen.sessions,
        "jobs": sorted(name for name, state in seen.jobs.items() if state == "running")
        if seen.jobs is not None
        else None,
        "requests": seen.requests,
        "gpus": seen.gpus,
        "spent": round(memory.spent, 4),
        "price_per_hour": settings.price_per_hour,
        "currency": settings.currency,
        "looked_at": now,
        "serial": orders.serial,
    }


def _born(settings: Settings, now: Now) -> Memory:
    started = min(settings.since, now.time) if settings.since is not None else now.time
    # Until now it ran unwatched: what that cost is counted, too.
    before = settings.spent_before + (now.time - started) * (settings.price_per_hour or 0) / 3600
    return Memory(
        settings.life, started, now.boot, now.time, now.time, before, 0.0, None, None, {}, called=False, jobs={}
    )


def _counted(settings: Settings, orders: Orders, memory: Memory, now: Now) -> Memory:
    # What the box was off for costs nothing; since its boot it runs, whether the guard did or not.
    begun = memory.looked if memory.boot == now.boot else max(memory.looked, now.booted)
    price = (settings.price_per_hour or 0) / 3600
    spent, told = memory.spent + max(0.0, now.time - begun) * price, memory.told
    if orders.spent is not None and orders.spent_at > told:
        told = orders.spent_at
        spent = orders.spent + max(0.0, now.time - told) * price
    return memory._replace(spent=spent, told=told)


def _notice(warn: float, limit: float) -> float:
    """A limit that is short is not spent on warnings."""
    return min(warn, limit / 2)


def _said(settings: Settings, before: dict[str, float], fires: dict[str, float], now: float) -> list[Act]:
    acts = [Act("called-off", reason, f"{_named(settings)} stays on") for reason in before if reason not in fires]
    new = sorted((reason for reason in fires if reason not in before), key=lambda reason: fires[reason])
    acts += [Act("warn", reason, _warning(settings, reason, fires[reason] - now)) for reason in new]
    return acts


def _warning(settings: Settings, reason: str, left: float) -> str:
    name = settings.box or "NAME"
    keep = f"`gpubox guard {name} --extend 2h` keeps it on."
    if reason == "budget":
        keep = f"Raise `guard.budget` in the box file and run `gpubox up {name}`, or `gpubox guard {name} --off`."
    return f"{_named(settings)} powers itself off in {span(left)}; by then {why(settings, reason)}. {keep}"


def _named(settings: Settings) -> str:
    return f"the box {settings.box}" if settings.box else "this box"


def _jobs(before: dict[str, float], seen: Seen, now: float) -> tuple[dict[str, float], list[Act]]:
    """Jobs that run, since when they have been seen; and the long ones that have ended."""
    if seen.jobs is None:
        return before, []
    running = {name: before.get(name, now) for name, state in seen.jobs.items() if state == "running"}
    ended = [name for name in before if name not in running and seen.jobs.get(name) in {"done", "failed", "lost"}]
    acts = [
        Act("job", name, f"the job {name} {'is done' if seen.jobs[name] == 'done' else seen.jobs[name]}"
            f" after {span(now - before[name])}")
        for name in ended
        if name != "converge" and now - before[name] >= _LONG_JOB
    ]  # fmt: skip
    return running, acts
