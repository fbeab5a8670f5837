"""`gpubox guard NAME`: what the guard of a box sees, when it powers the box off, and how to tell it something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpubox.durations import in_words
from gpubox.errors import UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged

if TYPE_CHECKING:
    from collections.abc import Callable

# The ledger and the guard count the same seconds with clocks of their own, and the guard looks twice a minute.
_AGREED = Decimal("0.02")


def look(name: str) -> dict[str, Any]:
    """The guard's view of the box, told what the ledger knows of its cost; the shape is in `gpubox guard --help`.

    Raises `UsageError` when the box has none.
    """
    return _told(name, lambda boxctl: boxctl.call("guard", retry=True)["guard"])


def extend(name: str, length: timedelta) -> dict[str, Any]:
    """Let the box live so much longer, and call it busy for so long; the view. Money is not extended."""
    seconds = f"{length.total_seconds():.0f}"
    return _told(name, lambda boxctl: boxctl.call("guard", "--extend", seconds)["guard"])


def switch(name: str, *, on: bool) -> dict[str, Any]:
    """Have the guard power nothing off (`on=False`), or do its work again; the view."""
    return _told(name, lambda boxctl: boxctl.call("guard", "--on" if on else "--off")["guard"])


def note(ledger: Ledger, name: str, view: dict[str, Any] | None) -> BoxRecord:
    """Keep in the ledger when the guard powers the box off; `view` as in a box's status, None without a guard."""
    at = moment(view.get("guard_at")) if view and view["stage"] not in {"off", "dead"} else None
    record = ledger.get(name)
    if record.guard_at == at:
        return record
    return ledger.update(name, guard_at=at)


def line(view: dict[str, Any], now: datetime) -> str:
    """The guard in one line, for `gpubox status`."""
    stage, at = view["stage"], moment(view.get("fires_at") or view.get("guard_at"))
    if stage == "dead":
        return "guard: does not run, so nothing powers this box off"
    if stage == "off":
        return "guard: switched off, so nothing powers this box off"
    if stage == "starting" or "looked_at" not in view:
        return "guard: has not looked at the box yet"
    if stage == "stopping":
        return f"guard: powering off ({view.get('doing') or 'now'})"
    if stage == "warned" and at is not None:
        return f"guard: powers off in {in_words(at - now)}: {view['why']}"
    parts = [f"powers off in {in_words(at - now)} at the latest"] if at is not None else []
    if view["limits"]["idle"] is not None:
        limit = in_words(timedelta(seconds=view["limits"]["idle"]))
        idle = in_words(timedelta(seconds=view["idle_s"])) if view["idle_s"] is not None else None
        why = ", ".join([*view["busy"], *view["unknown"]])
        parts.append(
            f"idle for {idle} of {limit}" if idle else f"in use ({why})" if why else f"off when idle for {limit}"
        )
    return "guard: " + "; ".join(parts or ["watching"])


def moment(seconds: float | None) -> datetime | None:
    """A moment as the guard writes it (seconds since 1970), to the second."""
    return datetime.fromtimestamp(round(seconds), UTC) if seconds is not None else None


def _told(name: str, ask: Callable[[Boxctl], dict[str, Any] | None]) -> dict[str, Any]:
    record = converged(name)
    with Host(Login.of(record)) as host:
        boxctl = Boxctl(host, record.root or "")
        view = ask(boxctl)
        if view is None:
            raise UsageError(
                f"the box `{name}` has no guard",
                hint=f"write a section `guard` into its box file, as in `guard: {{ttl: 8h}}`, then: gpubox up {name}",
            )
        with Ledger() as ledger:
            spent = ledger.spent(name)
            if spent is not None and _disagree(view, spent):
                view = boxctl.call("guard", "--spent", f"{spent:f}")["guard"]
            note(ledger, name, view)
    return {"name": name, **view}


def _disagree(view: dict[str, Any], spent: Decimal) -> bool:
    """Whether the guard has to be told what the box has cost; only where it has money to guard."""
    if view.get("limits", {}).get("budget") is None or not view["running"]:
        return False
    return abs(Decimal(str(view["spent"])) - spent) > max(Decimal("0.01"), spent * _AGREED)
