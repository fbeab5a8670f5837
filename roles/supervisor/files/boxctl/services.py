"""Services: what they shall be, bringing them there, and what they are."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from boxctl import files, lifecycle, logs, programs, specs, states
from boxctl.errors import BoxctlError, UsageError
from boxctl.rpc import NotRunningError, Supervisord

if TYPE_CHECKING:
    from boxctl.layout import Layout

HIDDEN = "(hidden)"
_DOWN = {None, "STOPPED", "EXITED", "FATAL", "UNKNOWN"}


def apply(layout: Layout, name: str, spec: specs.Service, *, check: bool) -> dict[str, Any]:
    """Make the service what `spec` says and have it run; (re)starts it only when that changes something.

    With `check` only says what would change. `{"changed", "diff": {"before", "after"}}`; values of `env` are hidden.
    """
    place = layout.service(name)
    if (layout.job(name) / "job.json").exists():
        raise UsageError(f"`{name}` is a job already", hint="give the service another name: they share a log")
    wanted = spec._asdict()
    before = files.read_json(place / "service.json")
    conf = programs.service_conf(layout, name, start_seconds=spec.start_seconds, stop_seconds=spec.stop_seconds)
    with files.lock(layout.supervisor / f"service-{name}.lock"):
        # Whatever is not up shall be: a crash loop starts with a clean slate.
        down = before is not None and _view(layout, name, before, _infos(layout), time.time())["state"] in {
            "stopped",
            "failed",
        }
        changed = before != wanted or down
        if changed and not check:
            lifecycle.boot(layout)
            place.mkdir(mode=0o700, exist_ok=True)
            _stop(layout, name, before or wanted)
            files.write_json(place / "service.json", wanted)
            _register(layout, name, conf)
    state = {"state": "stopped"} if down else {}
    diff = {"before": {**_shown(before, wanted), **state}, "after": _shown(wanted, before)}
    if down:
        diff["after"]["state"] = "started"
    return {"changed": changed, "diff": diff}


def start(layout: Layout, name: str) -> dict[str, Any]:
    """Start a service that does not run."""
    spec = _known(layout, name)
    with files.lock(layout.supervisor / f"service-{name}.lock"):
        lifecycle.boot(layout)
        changed = _view(layout, name, spec, _infos(layout), time.time())["state"] in {"stopped", "failed"}
        if changed:
            _again(layout, name, spec)
    return {"changed": changed}


def restart(layout: Layout, name: str) -> dict[str, Any]:
    """Stop a service when it runs, and start it."""
    spec = _known(layout, name)
    with files.lock(layout.supervisor / f"service-{name}.lock"):
        lifecycle.boot(layout)
        _again(layout, name, spec)
    return {"changed": True}


def stop(layout: Layout, name: str) -> dict[str, Any]:
    """Stop a service until it is started again or the box boots; returns when all its processes are gone."""
    spec = _known(layout, name)
    with files.lock(layout.supervisor / f"service-{name}.lock"):
        return {"changed": _stop(layout, name, spec)}


def remove(layout: Layout, name: str) -> dict[str, Any]:
    """Stop and forget a service; its log stays."""
    import shutil

    place = layout.service(name)
    spec = files.read_json(place / "service.json")
    conf = programs.conf_path(layout, f"service-{name}")
    if spec is None and not conf.exists():
        return {"changed": False}
    with files.lock(layout.supervisor / f"service-{name}.lock"):
        _stop(layout, name, spec or {"stop_seconds": 30})
        conf.unlink(missing_ok=True)
        with suppress(NotRunningError):  # It will not find the file when it starts.
            Supervisord(layout).drop(f"service-{name}")
        if place.exists():
            shutil.rmtree(place)
    return {"changed": True}


def names(layout: Layout) -> list[str]:
    """Every service."""
    return sorted(path.parent.name for path in layout.services.glob("*/service.json"))


def views(layout: Layout) -> list[dict[str, Any]]:
    """Every service as `boxctl status` shows it."""
    found = names(layout)
    if not found:
        return []
    infos = _infos(layout)
    now = time.time()
    checks = _health(layout, found, infos)
    full = files.full(layout.root)
    views = []
    for name in found:
        spec = files.read_json(layout.service(name) / "service.json") or {}
        view = _view(layout, name, spec, infos, now, healthy=checks.get(name))
        # The reason of whatever else is wrong, and of what is about to be.
        views.append({**view, "last_error": full or view["last_error"]})
    return views


def _view(
    layout: Layout,
    name: str,
    spec: dict[str, Any],
    infos: dict[str, dict[str, Any]] | None,
    now: float,
    *,
    healthy: bool | None = None,
) -> dict[str, Any]:
    history = files.read_json(layout.service(name) / "history.json") or {}
    info = (infos or {}).get(f"service-{name}", {"statename": "STOPPED"} if infos is not None else {})
    # The wrapper may be pausing before it starts the program.
    up = bool(info.get("pid")) and history.get("pid") == info["pid"]
    uptime = max(0.0, now - float(history["started"])) if up else None
    exits = history.get("exits", [])
    keeper = infos is None and lifecycle.keeper_pid(layout) is not None
    seen = states.Seen(info.get("statename"), keeper, exits, uptime, healthy)
    state = states.service_state(seen, now)
    trouble = None
    if state in {"failed", "backoff"} or (state == "starting" and exits):
        trouble = logs.last_error(layout.log(name), under_way=up) or info.get("spawnerr") or None
    return {
        "name": name,
        "description": spec.get("description", ""),
        "state": state,
        "pid": history.get("child") if up else info.get("pid") or None,
        "uptime_s": round(uptime, 1) if uptime is not None else None,
        "port": spec.get("port"),
        "healthy": healthy,
        "exit_code": exits[-1]["exit_code"] if exits else None,
        "restarts": max(0, history.get("restarts", 0)),
        "last_error": trouble,
        "log": str(layout.log(name)),
    }


def _health(layout: Layout, found: list[str], infos: dict[str, dict[str, Any]] | None) -> dict[str, bool]:
    from boxctl.health import ask_all

    urls = {}
    for name in found:
        url = (files.read_json(layout.service(name) / "service.json") or {}).get("health_url")
        if url:
            urls[name] = url
    up = {name for name in urls if (infos or {}).get(f"service-{name}", {}).get("pid")}
    return {**dict.fromkeys(urls, False), **ask_all({name: urls[name] for name in up})}


def _infos(layout: Layout) -> dict[str, dict[str, Any]] | None:
    if not layout.socket.exists():
        return None
    try:
        return Supervisord(layout).processes()
    except NotRunningError:
        return None


def _known(layout: Layout, name: str) -> dict[str, Any]:
    spec = files.read_json(layout.service(name) / "service.json")
    if spec is None:
        there = ", ".join(names(layout)) or "none"
        raise BoxctlError(f"there is no service `{name}`", hint=f"services of this box: {there}")
    return spec


def _stop(layout: Layout, name: str, spec: dict[str, Any]) -> bool:
    """Stop; the next start begins without a history of crashes."""
    path = layout.service(name) / "history.json"
    try:
        stopped = Supervisord(layout).stop(f"service-{name}", seconds=spec["stop_seconds"] + 3 * programs.STOP_MARGIN)
    except NotRunningError:
        if layout.socket.exists() and lifecycle.keeper_pid(layout):
            raise
        stopped = False
    if history := files.read_json(path):
        files.write_json(path, {key: history[key] for key in ("pid", "ticks") if key in history})
    return stopped


def _again(layout: Layout, name: str, spec: dict[str, Any]) -> None:
    _stop(layout, name, spec)
    conf = programs.service_conf(layout, name, start_seconds=spec["start_seconds"], stop_seconds=spec["stop_seconds"])
    _register(layout, name, conf)


def _register(layout: Layout, name: str, conf: str) -> None:
    """Have supervisord run the (stopped) service by `conf`."""
    program = f"service-{name}"
    supervisord = Supervisord(layout)
    known = supervisord.process(program)
    if programs.place(layout, program, conf) and known is not None:
        supervisord.drop(program)
        known = None
    if known is None:
        supervisord.adopt(program)
    supervisord.start(program)


def _shown(spec: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any]:
    """A spec for people: values of the environment are hidden, but a changed one is seen to be."""
    if spec is None:
        return {}
    others = (other or {}).get("env", {})
    same = {name: others.get(name) == value for name, value in spec["env"].items()}
    mark = {name: HIDDEN if equal or name not in others else "(hidden, another value)" for name, equal in same.items()}
    return {**spec, "env": mark}
