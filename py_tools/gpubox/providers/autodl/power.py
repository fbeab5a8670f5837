"""Boxes that start and stop: AutoDL says yes at once, and it happens later, or not at all."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpubox.errors import Failed, GpuboxError, Unreachable
from gpubox.providers.autodl import rows
from gpubox.providers.autodl.client import unreadable
from gpubox.providers.autodl.refusals import CONSOLE, WHERE, NoSuchBox
from gpubox.providers.base import Rented, Whereabouts
from gpubox.providers.clock import pauses
from gpubox.providers.greeting import greets
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.providers.autodl.client import Api
    from gpubox.providers.clock import Clock

# Seconds. A box is made in half a minute, and in some minutes where its host lacks the image.
_READY = 900.0
_OFF = 300.0
_AGAIN = 15.0  # before a request that shows no effect is made again
_NOT_YET_ON = 30.0  # a box may be shown powered off so long after power_on was accepted
_REFUSALS = 3
_OUTAGE = 60.0  # without an answer is sat out: the box goes its way meanwhile

_DRY = 1000  # thousandths of a yuan

_WAITS = {
    "creating": "AutoDL makes the box",
    "starting": "AutoDL starts the box",
    "shutdown": "AutoDL shows the box powered off, not started yet",
}


def status(api: Api, ref: str) -> str:
    """AutoDL's word for how the box is. Raises `NoSuchBox`."""
    word = api.look("status", instance_uuid=ref)
    if not isinstance(word, str):
        raise unreadable("status")
    return word


def ready(api: Api, clock: Clock, ref: str, say: Callable[[str], None]) -> Rented:
    """The box when it runs and its SSH server greets. Raises `Failed` when it goes off, `Unreachable` after 15 min."""
    told, begun = "", False
    for waited, word in _watched(api, clock, ref, _READY):
        if rows.state(word) == "stopped" and (begun or waited > _NOT_YET_ON):
            raise Failed(
                f"the box `{ref}` went off while it was starting", where=WHERE, hint=f"see why: {CONSOLE}{_money(api)}"
            )
        begun = begun or rows.state(word) in ("starting", "running")
        news = _WAITS.get(word, f"AutoDL says `{word}`")
        if word == "running":
            if (rented := _greeting(api, ref)) is not None:
                return rented
            news = "the box runs; its SSH server does not answer yet"
        if news != told:
            say(news)
            told = news
    raise Unreachable(
        f"the box `{ref}` is not ready after {_READY / 60:.0f} minutes; last: {told}",
        where=WHERE,
        hint=f"it may bill: look at it with `gpubox ls`, or at {CONSOLE}{_money(api)}",
    )


def whereabouts(api: Api, ref: str) -> Whereabouts | None:
    """Where the box runs; None for one that does not, or that AutoDL no longer has."""
    try:
        if status(api, ref) != "running":
            return None
        shown = rows.read(rows.Snapshot, api.look("snapshot", instance_uuid=ref), "snapshot")
    except NoSuchBox:
        return None
    return Whereabouts(Endpoint(shown.proxy_host, shown.ssh_port)) if shown.proxy_host and shown.ssh_port else None


def on(api: Api, clock: Clock, ref: str) -> None:
    """Start a box that is off or going off. Raises `NoStock`."""
    for _, word in _watched(api, clock, ref, _OFF):
        if rows.state(word) != "stopping":
            break
    for attempt in (1, 2):  # of the same box: a second call costs nothing
        if rows.state(status(api, ref)) in ("starting", "running"):
            return
        try:
            api.act("power_on", instance_uuid=ref, payload="gpu")
        except Unreachable:
            if attempt == 2 and rows.state(status(api, ref)) not in ("starting", "running"):
                raise
        else:
            return


def off(api: Api, clock: Clock, ref: str) -> None:
    """Stop the box and wait until AutoDL shows it stopped. Raises `Unreachable` after 5 minutes.

    A request is lost while the box starts, and answered with an error while it stops. So the status decides, and the
    request is made again when the status has moved on, or not moved for a while. A released box is off.
    """
    asked: tuple[str, float] | None = None  # the status that the last request met, and when
    refused: list[GpuboxError] = []
    shown = ""
    with suppress(NoSuchBox):
        for waited, word in _watched(api, clock, ref, _OFF):
            shown = word
            if rows.state(word) == "stopped":
                return
            if rows.state(word) == "stopping" or (asked and asked[0] == word and waited - asked[1] < _AGAIN):
                continue
            if len(refused) >= _REFUSALS:
                break
            asked = (word, waited)
            try:
                api.act("power_off", instance_uuid=ref)
            except (Failed, Unreachable) as error:
                refused.append(error)
        no = f"; it answered: {refused[-1].message}" if refused else ""
        raise Unreachable(
            f"AutoDL does not power off the box `{ref}`: it still shows `{shown}`{no}",
            where=WHERE,
            hint=f"it bills: power it off by hand, {CONSOLE}",
        )


def _watched(api: Api, clock: Clock, ref: str, limit: float) -> Iterator[tuple[float, str]]:
    """Seconds waited and the status, until `limit`. Raises `Unreachable` when AutoDL is silent for a minute."""
    silent: float | None = None
    for waited in pauses(clock, limit):
        try:
            word = status(api, ref)
        except Unreachable:
            silent = waited if silent is None else silent
            if waited - silent > _OUTAGE:
                raise
            continue
        silent = None
        yield waited, word


def _greeting(api: Api, ref: str) -> Rented | None:
    """The running box when its SSH server answers. Asked anew each time: every power change moves the port."""
    try:
        shown = rows.read(rows.Snapshot, api.look("snapshot", instance_uuid=ref), "snapshot")
    except Unreachable:
        return None
    if not shown.proxy_host or not shown.ssh_port or not greets(shown.proxy_host, shown.ssh_port):
        return None
    endpoint = Endpoint(shown.proxy_host, shown.ssh_port)
    return Rented(ref, endpoint, shown.root_password or None, price=shown.price)


def _money(api: Api) -> str:
    """A box may hang when the account runs dry; said where a start failed."""
    try:
        left = rows.read(rows.Wallet, api.act("balance"), "balance").assets
    except GpuboxError:
        return ""
    return f"; the account has {rows.yuan(left):.2f} {rows.CURRENCY} left" if left < _DRY else ""
