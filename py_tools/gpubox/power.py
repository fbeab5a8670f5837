"""`gpubox stop` and `gpubox start`: power, and what runs on the box, without losing its disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpubox.errors import Failed, GpuboxError, UsageError
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.providers.attach import how_by_hand
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.remote.tunnel import stop_tunnels
from gpubox.renting import power_on

if TYPE_CHECKING:
    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord

# vLLM's cold start on a slow box, with room, in seconds.
_START_TIMEOUT = 600.0


def stop(name: str, *, board: Board) -> str | None:
    """Stop what runs on the box and power it off; a sentence when a person has to do the last step, else None."""
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        with board.step("stop services and jobs") as step:
            stop_tunnels(name)
            step.say(_stop_services(record))
        if not source.releases:
            ledger.audit(name, "stop", "done", {"power": "by hand"})
            return how_by_hand(record, "stop")
        with board.step("power off"):
            ledger.audit(name, "power_off", "begun", {})
            source.power_off(record)
        ledger.update(name, state="stopped")
        ledger.audit(name, "power_off", "done", {})
    return None


def start(name: str, *, board: Board, timeout: float = _START_TIMEOUT) -> dict[str, Any]:
    """Power the box on where the provider can, bring its services back, and wait until they are healthy; the status.

    The endpoint is read anew, since it may change with the power. Raises `Failed` naming each service that did not
    come back, with its last error line.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        if source.releases and source.state(record) == "stopped":
            record = power_on(ledger, record, source, board)
        record = ledger.update(name, state="running")
        if record.root is None:
            raise UsageError(f"`{name}` has never been converged", hint=f"gpubox up {name}")
        root = record.root
    with board.step("services") as step, Host(Login.of(record)) as host:
        boxctl = Boxctl(host, root)
        boxctl.call("boot", timeout=60, retry=True)
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


def _stop_services(record: BoxRecord) -> str:
    if record.root is None:
        return "none"
    try:
        with Host(Login.of(record)) as host:
            Boxctl(host, record.root).call("shutdown", timeout=180, retry=True)
    except GpuboxError:
        if record.state == "stopped":
            return "stopped before"
        raise
    return "all ended"
