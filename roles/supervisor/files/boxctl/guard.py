"""What the guard says of itself, and what people tell it. The guard itself is the role `guard`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from boxctl import files, processes
from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from boxctl.layout import Layout

# The guard takes an order within a second, unless it is asking a slow engine just now.
_PATIENCE = 20.0
_STEP = 0.1


def view(layout: Layout) -> dict[str, Any] | None:
    """The guard's last look at the box, and whether it runs; None when the box has none."""
    place = layout.root / "guard"
    if not (layout.service("guard") / "service.json").exists():
        return None
    state = files.read_json(place / "state.json") or {}
    running = processes.alive(state.get("pid"), state.get("ticks"))
    shown = dict(state.get("view", {}))
    return {**shown, "running": running, "stage": shown.get("stage", "starting") if running else "dead"}


def order(
    layout: Layout, *, extend: float | None = None, off: bool | None = None, spent: float | None = None
) -> dict[str, Any]:
    """Tell the guard something, and wait until it has heard it; its view.

    `extend`: so many seconds longer to live, and no idleness for so long. `off`: it only watches; False ends that.
    `spent`: what the box has cost until now. Raises `BoxctlError` when there is no guard.
    """
    now = view(layout)
    place = layout.root / "guard"
    life = (files.read_json(place / "settings.json") or {}).get("life")
    if now is None:
        raise BoxctlError("this box has no guard", hint="write a section `guard` into its box file, then `gpubox up`")
    with files.lock(place / "control.lock"):
        control = files.read_json(place / "control.json") or {}
        if control.get("life") != life:
            control = {"life": life, "serial": control.get("serial", 0)}
        if extend is not None:
            control |= _extended(control, now, extend)
        if off is not None:
            control["off"] = off
        if spent is not None:
            control |= {"spent": spent, "spent_at": time.time()}
        control["serial"] = int(control.get("serial", 0)) + 1
        files.write_json(place / "control.json", control)
    return _heard(layout, control["serial"])


def _extended(control: dict[str, Any], now: dict[str, Any], extend: float) -> dict[str, Any]:
    """A life that is over already is extended from now on."""
    current = time.time()
    late = max(0.0, current - float(now.get("deadlines", {}).get("ttl", current)))
    return {
        "extended": float(control.get("extended", 0)) + late + extend,
        "hold_until": max(float(control.get("hold_until", 0)), current + extend),
    }


def _heard(layout: Layout, serial: int) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        now = view(layout) or {}
        if now.get("serial") == serial:
            return now
        if not now.get("running") or time.monotonic() > deadline:
            words = "the guard has not answered, but will find the order when it looks again"
            more = {"guard": now}
            if not now.get("running"):
                raise BoxctlError(
                    "the guard does not run", hint="`boxctl service start guard`; `boxctl logs guard`", more=more
                )
            raise BoxctlError(words, hint="`boxctl guard` shows whether it has; `boxctl logs guard`", more=more)
        time.sleep(_STEP)
