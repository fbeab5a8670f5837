"""`gpubox stop` and `gpubox start`: power, and what runs on the box, without losing its disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox import prices
from gpubox.boxfile import load
from gpubox.errors import BoxFileError, Failed, GpuboxError, LinkLost, Refused, Unreachable, UsageError
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.providers.attach import how_by_hand
from gpubox.reach import reach
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.remote.tunnel import stop_tunnels
from gpubox.renting import met, power_off, power_on

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from decimal import Decimal

    from gpubox.converge.progress import Board, Step
    from gpubox.ledger import BoxRecord
    from gpubox.providers import Provider

# vLLM's cold start on a slow box, with room, in seconds.
_START_TIMEOUT = 600.0
# How long a box takes to go off when it shuts itself down, with room, in seconds.
_OFF_SECONDS = 120.0
# AutoDL's own shutdown ends the bill. It is a shell script without `#!`, which only a shell can run; `systemctl` and
# the like do nothing there. Exit code 3: another kind of box.
_SHUTDOWN = (
    "case $(hostname) in autodl-*) ;; *) exit 3;; esac; [ -f /usr/bin/shutdown ] || exit 3; "
    "sync; setsid sh -c 'sleep 1; exec /bin/sh /usr/bin/shutdown' </dev/null >/dev/null 2>&1 &"
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `stop` came to. `still_to_do`: what a person has to do or look at; None when nothing."""

    record: BoxRecord
    off: bool
    still_to_do: str | None = None


def stop(name: str, *, board: Board, power: bool = False) -> Stopped:
    """Stop what runs on the box and power it off; its disk stays.

    A box that was added by its login is left running, unless `power` says to run its own shutdown, which boxes of
    AutoDL have. A rented box that does not answer is powered off all the same: it bills. Raises `Refused` when the box
    still runs afterwards, with what it costs.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        if source.releases and record.provider_ref is None:
            raise UsageError(f"`{name}` has not been rented", where=name, hint=f"gpubox up {name}")
        with board.step("stop services and jobs") as step:
            stop_tunnels(name)
            step.say(_stop_services(record, source))
        if source.releases:
            with board.step("power off"):
                record = _erased_at(ledger, power_off(ledger, record, source), source)
            return Stopped(record, off=True, still_to_do=_what_stays(record))
        if power:
            with board.step("the box's own shutdown"):
                return _shut_down(ledger, record, source)
        ledger.audit(name, "stop", "done", {"power": "by hand"})
        by_itself = f"; a box of AutoDL can do it by itself: `gpubox stop {name} --power`"
        return Stopped(record, off=False, still_to_do=how_by_hand(record, "stop") + by_itself)


def start(name: str, *, board: Board, wait: timedelta | None = None, timeout: float = _START_TIMEOUT) -> dict[str, Any]:
    """Power the box on where the provider can, bring its services back, and wait until they are healthy; the status.

    The endpoint and the password are read anew, since they may change with the power. `wait`: for how long a provider
    without stock is asked again. Raises `NoStock`, `Refused` for a box that is dearer now than the box file's
    `max_price`, and `Failed` naming each service that did not come back, with its last error line.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        if source.releases and (not met(record) or source.state(record) != "running"):
            record = power_on(ledger, record, source, board, limit=_cap(record, board), wait=wait)
        if record.root is None:
            raise UsageError(f"`{name}` has never been converged", hint=f"gpubox up {name}")
        root = record.root
    with board.step("services") as step:
        record = reach(record, _boot, board.note)
        with Ledger() as ledger:
            ledger.update(name, state="running")  # It answers, whoever powered it on.
        return _until_up(record, root, step, timeout)


def _boot(record: BoxRecord) -> BoxRecord:
    with Host(Login.of(record)) as host:
        Boxctl(host, record.root or "").call("boot", timeout=60, retry=True)
    return record


def _until_up(record: BoxRecord, root: str, step: Step, timeout: float) -> dict[str, Any]:
    name = record.name
    with Host(Login.of(record)) as host:
        boxctl = Boxctl(host, root)
        deadline = time.monotonic() + timeout
        while True:
            status = boxctl.call("status", retry=True)
            waiting = [item["name"] for item in status["services"] if not _is_up(item)]
            broken = [item for item in status["services"] if item["state"] == "failed"]
            if broken:
                raise _broken(name, broken)
            if not waiting:
                step.say(", ".join(item["name"] for item in status["services"]) or "none")
                return status
            if time.monotonic() > deadline:
                raise Failed(
                    f"not healthy after {timeout:.0f} s: {', '.join(waiting)}",
                    where=name,
                    hint=f"gpubox logs {name} {waiting[0]}",
                )
            step.say("waiting for " + ", ".join(waiting))
            time.sleep(1.0)


def _is_up(service: dict[str, Any]) -> bool:
    return service["state"] == "stopped" or (service["state"] == "running" and service["healthy"] is not False)


def _broken(name: str, services: list[dict[str, Any]]) -> Failed:
    lines = [
        f"  {item['name']}: {item.get('last_error') or 'exit code ' + str(item.get('exit_code'))}" for item in services
    ]
    return Failed(
        "did not come back:\n" + "\n".join(lines), where=name, hint=f"gpubox logs {name} {services[0]['name']}"
    )


def _stop_services(record: BoxRecord, source: Provider) -> str:
    if record.root is None:
        return "none"
    try:
        reach(record, _end_services)
    except GpuboxError as error:
        if record.state == "stopped":
            return "stopped before"
        if source.bills and isinstance(error, Unreachable):
            return f"the box does not answer ({error.message}); its power is cut, its disk stays"
        raise
    return "all ended"


def _end_services(record: BoxRecord) -> None:
    with Host(Login.of(record)) as host:
        Boxctl(host, record.root or "").call("shutdown", timeout=180, retry=True)


def _cap(record: BoxRecord, board: Board) -> Decimal | None:
    """`max_price` of its box file, as far as that can be read: a mistake in it is no reason to leave a box off."""
    if record.box_file is None or not record.box_file.exists():
        return None
    try:
        return prices.cap(load(record.box_file))
    except BoxFileError as error:
        board.note(f"{record.box_file} has mistakes, so no `max_price` is held: {error.message.splitlines()[0]}")
        return None


def _erased_at(ledger: Ledger, record: BoxRecord, source: Provider) -> BoxRecord:
    """The box with the time at which its provider deletes it, where the provider says so."""
    if not source.bills:
        return record
    try:
        erased = next((box.erase_at for box in source.alive() if box.ref == record.provider_ref), None)
    except GpuboxError:
        return record  # It is off, which was the wish; `gpubox ls` asks again.
    return ledger.update(record.name, erase_at=erased) if erased else record


def _what_stays(record: BoxRecord) -> str | None:
    """What an owner has to know of a box that is off and rented."""
    parts = []
    if record.stopped_per_hour:
        parts.append(f"its disk costs {record.stopped_per_hour} {record.currency} per hour")
    if record.erase_at:
        parts.append(f"its provider deletes it at {_utc(record.erase_at)}")
    return f"`{record.name}` is off and stays rented: {', and '.join(parts)}" if parts else None


def _shut_down(ledger: Ledger, record: BoxRecord, source: Provider) -> Stopped:
    """Have a box of AutoDL that was added by its login switch itself off."""
    ledger.audit(record.name, "power_off", "begun", {"by": "its own shutdown"})
    try:
        with Host(Login.of(record)) as host:
            code = host.run(_SHUTDOWN, check=False).exit_code
    except LinkLost:
        code = 0  # The box was quicker than its answer.
    if code != 0:
        ledger.audit(record.name, "power_off", "failed", {"by": "its own shutdown", "exit_code": code})
        raise Refused(
            f"`{record.name}` is no box of AutoDL, and gpubox does not shut down other people's machines",
            where=record.name,
            hint=how_by_hand(record, "stop"),
        )
    deadline = time.monotonic() + _OFF_SECONDS
    while source.state(record) == "running":
        if time.monotonic() > deadline:
            ledger.audit(record.name, "power_off", "failed", {"by": "its own shutdown"})
            raise Refused(
                f"`{record.name}` was told to shut down, and still answers after {_OFF_SECONDS:.0f} s: it bills",
                where=record.name,
                hint=how_by_hand(record, "stop"),
            )
        time.sleep(0.5)
    record = ledger.update(record.name, state="stopped")
    ledger.audit(record.name, "power_off", "done", {"by": "its own shutdown"})
    return Stopped(
        record,
        off=True,
        still_to_do="it does not answer any more; see that it is 已关机 (off) at "
        "https://www.autodl.com/console/instance/list, where it is also released: AutoDL deletes it after 15 days off",
    )


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
