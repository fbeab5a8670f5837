"""`gpubox guard NAME`: what the guard of a box sees, when it powers the box off, and how to tell it something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpubox.durations import in_words
from gpubox.errors import Failed, GpuboxError, UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.providers import provider
from gpubox.reach import reach
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged

if TYPE_CHECKING:
    from collections.abc import Callable

# What the guard does before it powers off may take so long; a stop that the provider has planned comes after it.
_AFTER = timedelta(minutes=30)
# The budget's deadline moves a little with every look.
_SAME = timedelta(minutes=2)
# The ledger and the guard count the same seconds with clocks of their own, and the guard looks twice a minute.
_AGREED = Decimal("0.02")
_IDLE_GUARDS = {"dead": "does not run", "off": "switched off"}


@runtime_checkable
class PlansStops(Protocol):
    """A provider that can be told to stop a box at some time, whatever runs in it."""

    def guard_until(self, record: BoxRecord, when: datetime | None) -> datetime | None:
        """Stop it at `when`; None: never. The time that the provider then shows."""

    def guarded_until(self, record: BoxRecord) -> datetime | None:
        """When it will stop it."""


def look(name: str) -> dict[str, Any]:
    """The guard's view of the box, told what the ledger knows of its cost; the shape is in `gpubox guard --help`.

    Raises `UsageError` when the box has none.
    """
    return _told(name, lambda boxctl: boxctl.call("guard", retry=True)["guard"])


def extend(name: str, length: timedelta) -> dict[str, Any]:
    """Let the box live so much longer, and call it busy for so long; the view. Money is not extended.

    Raises `Failed` when the provider's own stop of the box cannot be moved.
    """
    seconds = f"{length.total_seconds():.0f}"
    return _changed(name, lambda boxctl: boxctl.call("guard", "--extend", seconds)["guard"])


def switch(name: str, *, on: bool) -> dict[str, Any]:
    """Have the guard power nothing off (`on=False`), or do its work again; the view. Raises as `extend`."""
    return _changed(name, lambda boxctl: boxctl.call("guard", "--on" if on else "--off")["guard"])


def note(ledger: Ledger, name: str, view: dict[str, Any] | None) -> BoxRecord:
    """Keep in the ledger when the guard powers the box off; `view` as in a box's status, None without a guard."""
    at = moment(view.get("guard_at")) if view and view["stage"] not in {"off", "dead"} else None
    record = ledger.get(name)
    if view and view["stage"] == "starting":
        return record
    if record.guard_at == at or (record.guard_at and at and abs(record.guard_at - at) < _SAME):
        return record
    return ledger.update(name, guard_at=at)


def settle(ledger: Ledger, name: str, view: dict[str, Any] | None) -> str | None:
    """`note`, and move the provider's own stop of the box behind the guard's; a sentence when that did not work.

    Called after each converge: a stop that came with the create call knows nothing of an extended life.
    """
    record = note(ledger, name, view)
    if view is None or view["stage"] not in {"watching", "warned", "off"}:
        return None
    try:
        source = provider(record.provider)
        if not isinstance(source, PlansStops):
            return None
        at = moment(view.get("guard_at")) if view["stage"] != "off" else None
        wanted, planned = at + _AFTER if at else None, source.guarded_until(record)
        if wanted is None and view["stage"] != "off" and view.get("powerless"):
            return None  # What the provider has planned is the only guard there is.
        if wanted != planned and not (wanted and planned and abs(wanted - planned) < _AFTER / 2):
            ledger.audit(name, "guard_until", "begun", {"when": wanted})
            source.guard_until(record, wanted)
            ledger.audit(name, "guard_until", "done", {"when": wanted})
    except GpuboxError as error:
        return f"the stop that {record.provider} has planned for `{name}` could not be moved: {error.message}"
    return None


def weakness(name: str, view: dict[str, Any] | None) -> str | None:
    """What keeps the guard of a box from ending its bill, and what mends that; None for a guard that can."""
    if view is None or not view.get("powerless"):
        return None
    return (
        f"the guard of `{name}` watches and warns, but cannot end its bill: {view['powerless']}; "
        f"let that user become root without a password (`gpubox ssh {name}`, then `sudo visudo`), "
        f"then `gpubox up {name} --full`"
    )


def line(view: dict[str, Any], now: datetime) -> str:
    """The guard in one line, for `gpubox status`."""
    stage, at = view["stage"], moment(view.get("fires_at") or view.get("guard_at"))
    if stage in _IDLE_GUARDS:
        return f"guard: {_IDLE_GUARDS[stage]}, so nothing powers this box off"
    if view.get("powerless"):
        return f"guard: cannot power this box off, {view['powerless']}"
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


def _changed(name: str, ask: Callable[[Boxctl], dict[str, Any] | None]) -> dict[str, Any]:
    view = _told(name, ask)
    with Ledger() as ledger:
        if trouble := settle(ledger, name, view):
            raise Failed(
                trouble, where=name, hint=f"run it again, or set it in the provider's console; gpubox guard {name}"
            )
    return view


def _told(name: str, ask: Callable[[Boxctl], dict[str, Any] | None]) -> dict[str, Any]:
    return reach(converged(name), lambda record: _told_by(record, ask))


def _told_by(record: BoxRecord, ask: Callable[[Boxctl], dict[str, Any] | None]) -> dict[str, Any]:
    name = record.name
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
