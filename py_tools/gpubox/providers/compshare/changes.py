"""What changes a box: power, release, the planned stop. Each is repeated until CompShare's own list shows it done.

A call that answered success may have done nothing, and one whose answer was lost may have done it; so the list decides.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpubox.errors import Failed, Refused, Unreachable
from gpubox.providers.clock import pauses
from gpubox.providers.compshare.answers import Busy
from gpubox.providers.compshare.hosts import INSTALL_FAILED, data_disks, planned_stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.providers.base import State
    from gpubox.providers.compshare.account import Account
    from gpubox.providers.compshare.api import Api
    from gpubox.providers.compshare.hosts import Host

DOWN = "`gpubox down NAME` takes it off the ledger; then `gpubox up NAME` rents another"
_POWER_SECONDS = 1200.0  # the lock of an operation lasts 600 s, and a shutdown comes before it
_AGAIN_SECONDS = 60.0  # a request that the state does not show after this long was lost
_LEAST_AHEAD = timedelta(seconds=330)  # CompShare asks for 300 s; the rest is for clocks that differ
_SEEN_SECONDS = 15.0


class Changes:
    """Changes boxes of one account."""

    def __init__(self, api: Api, account: Account) -> None:
        self._api = api
        self._account = account
        self._clock = api.clock

    def power_on(self, ref: str, *, without_gpu: bool = False) -> None:
        """Until it starts. Raises `NoStock`, `Failed` for one that cannot start, `Refused` for not without its GPU."""
        asked: datetime | None = None
        for _ in pauses(self._clock, _POWER_SECONDS):
            host = self.need(ref)
            if host.state in ("starting", "running"):
                return
            _check_start(host, without_gpu)
            if host.state == "stopped" and self._lost(asked):
                given = {"WithoutGpu": True} if without_gpu else {}
                asked = self._ask(host, "StartCompShareInstance", given, ("starting", "running"))
        raise _too_long(ref, "started")

    def power_off(self, ref: str) -> None:
        """Until it is off. Nothing to do for one that is off, or gone."""
        asked: datetime | None = None
        for _ in pauses(self._clock, _POWER_SECONDS):
            host = self._account.host(ref)
            if host is None or host.state == "stopped":
                return
            # CompShare stops only what runs; what starts is waited for.
            if host.state in ("running", "unknown") and self._lost(asked):
                given = {"Force": True} if host.charge == "Spot" else {}
                asked = self._ask(host, "StopCompShareInstance", given, ("stopping", "stopped"))
        raise _too_long(ref, "powered off")

    def release(self, ref: str) -> None:
        """Ask for the end of a stopped box, with its system disk; nothing to do for one that is gone.

        Raises `Refused` for one that is not off, or to which a person has attached a disk.
        """
        for _ in pauses(self._clock, _POWER_SECONDS):
            host = self._account.host(ref)
            if host is None:
                return
            _check_release(host)
            try:
                # Without `ReleaseUDisk`: no other disk may go with it.
                self._api.once("TerminateCompShareInstance", host.where)
            except Busy:
                continue
            return
        raise _too_long(ref, "released")

    def stop_at(self, ref: str, when: datetime | None) -> datetime | None:
        """Have CompShare itself stop the box at `when`, or a little later than its least time ahead; None: never.

        Returns the time that its list then shows. Raises `Refused` where it cannot, `Failed` when the list shows
        another time, or none.
        """
        if self.need(ref).charge == "Spot":
            raise Refused("CompShare plans no stop of Spot boxes", where=ref, hint="use `compshare.charge: Postpay`")
        wanted = self._plan_when_free(ref, when)
        shown = None
        for _ in pauses(self._clock, _SEEN_SECONDS):
            shown = planned_stop(self.need(ref))
            if shown == wanted:
                return shown
        raise Failed(
            f"CompShare was asked to stop the box {_told(wanted)}, and its list shows that it stops {_told(shown)}",
            where=ref,
            hint="set it in the console (定时关机), or try again",
        )

    def plan_stop(self, host: Host, when: datetime | None) -> None:
        """One call, for a time that is far enough ahead; None: no stop."""
        if when is None:
            self._api.once("DeleteCompShareStopScheduler", host.where)
            return
        at = int(when.timestamp())
        self._api.once("UpdateCompShareStopScheduler", {**host.where, "SchedulerStopTime": at})

    def soonest(self, when: datetime) -> datetime:
        """`when`, in whole seconds, but no sooner than CompShare takes."""
        ahead = max(when, self._clock.now() + _LEAST_AHEAD)
        return ahead.astimezone(UTC).replace(microsecond=0)

    def need(self, ref: str) -> Host:
        """The box. Raises `Failed` when it is gone."""
        host = self._account.host(ref)
        if host is None:
            raise Failed("CompShare's list does not have this box", where=ref, hint=DOWN)
        return host

    def _plan_when_free(self, ref: str, when: datetime | None) -> datetime | None:
        """The time that was asked for in the end."""
        for _ in pauses(self._clock, _POWER_SECONDS):
            wanted = self.soonest(when) if when else None
            try:
                self.plan_stop(self.need(ref), wanted)
            except Busy:
                continue
            return wanted
        raise _too_long(ref, "given a planned stop")

    def _ask(self, host: Host, action: str, given: Mapping[str, object], towards: tuple[State, ...]) -> datetime | None:
        """One request; when it was made, or None when the box was busy with another one."""
        try:
            self._api.once(action, {**host.where, **given})
        except Busy:
            return None
        except Unreachable:
            pass  # perhaps it was done: the next look tells
        except Failed:
            # The box may have gone there by itself in between, by its planned stop or by its guard.
            now = self._account.host(host.ref)
            if now is not None and now.state not in towards:
                raise
        return self._clock.now()

    def _lost(self, asked: datetime | None) -> bool:
        return asked is None or (self._clock.now() - asked).total_seconds() >= _AGAIN_SECONDS


def _check_start(host: Host, without_gpu: bool) -> None:
    if host.said == INSTALL_FAILED:
        raise Failed("its image could not be installed, so it cannot start", where=host.ref, hint=DOWN)
    if without_gpu and host.data.get("SupportWithoutGpuStart") is False:
        raise Refused(
            f"CompShare starts no box with `{host.data.get('GpuType')}` without its GPU",
            where=host.ref,
            hint="remove `prepare: without-gpu` from the box file; downloads then run while the GPU is there",
        )


def _check_release(host: Host) -> None:
    if host.state != "stopped":
        raise Refused(
            f"the box is {host.said or 'in an unknown state'}; CompShare releases only what is powered off",
            where=host.ref,
            hint="power it off first: `gpubox stop NAME`, or `gpubox down NAME`, which does both",
        )
    if disks := data_disks(host):
        raise Refused(
            f"a data disk is attached to the box that gpubox did not rent: {', '.join(disks)}",
            where=host.ref,
            hint="detach it in the console (卸载; it goes on billing) or delete it there, then try again",
        )


def _too_long(ref: str, done: str) -> Unreachable:
    return Unreachable(
        f"the box was not {done} within {_POWER_SECONDS / 60:.0f} minutes",
        where=ref,
        hint="look at it in the console (https://console.compshare.cn), or try again",
    )


def _told(when: datetime | None) -> str:
    return f"at {when:%Y-%m-%d %H:%M:%S} UTC" if when else "never"
