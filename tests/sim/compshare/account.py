"""An account of the simulated CompShare: its boxes, what they cost, and how they change with time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypedDict

from sim import machines as kinds
from sim.compshare import catalogue
from sim.renting import Account, Rental

if TYPE_CHECKING:
    from datetime import datetime

    from sim.clock import SimClock
    from sim.faults import FaultPlan

State = Literal["Initializing", "Install Fail", "Starting", "Running", "Stopping", "Stopped"]


class Denied(Exception):
    """The provider's no: its RetCode and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Settings:
    """How the account and the provider are. Times in simulated seconds, money in yuan.

    `list_seconds`: how long the list is without a new box. `lock_at_create`: a box that is being made refuses every
    operation. `hide_without_gpu`: boxes without their GPU are in a list of their own. `bad_images`: ids whose
    installation fails. `sees_money`: whether the keys may ask for the balance.
    """

    deposit: Decimal = Decimal(100)
    verified: bool = True
    quota: int = 5
    sees_money: bool = True
    sees_projects: bool = True
    projects: tuple[str, ...] = ("org-other", "org-main")
    default_project: str = "org-main"
    install_seconds: float = 30.0
    start_seconds: float = 10.0
    stop_seconds: float = 15.0
    list_seconds: float = 0.0
    lock_at_create: bool = True
    hide_without_gpu: bool = True
    bad_images: tuple[str, ...] = ()
    off_days: int = 7
    arrears_seconds: float = 3600.0


class Options(TypedDict, total=False):
    """Keyword arguments of `compshare`: the fields of `Settings`, each of them optional."""

    deposit: Decimal
    verified: bool
    quota: int
    sees_money: bool
    sees_projects: bool
    projects: tuple[str, ...]
    default_project: str
    install_seconds: float
    start_seconds: float
    stop_seconds: float
    list_seconds: float
    lock_at_create: bool
    hide_without_gpu: bool
    bad_images: tuple[str, ...]
    off_days: int
    arrears_seconds: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for."""

    name: str
    project: str
    region: str
    zone: str
    gpu: str
    size: tuple[int, int, int]
    image: str
    charge: str
    disk: int


@dataclass
class Box(Rental):
    """One box."""

    ref: str
    wanted: Wanted
    container: bool
    state: State = "Initializing"
    without_gpu: bool = False
    data_disks: list[int] = field(default_factory=list)  # GB
    stop_at: datetime | None = None

    @property
    def instance_price(self) -> Decimal:
        """Of one period, as it runs or ran last."""
        if self.without_gpu:
            return catalogue.WITHOUT_GPU
        one = self.wanted
        return catalogue.instance_price(one.zone, one.gpu, one.size, one.charge)

    @property
    def disk_price(self) -> Decimal:
        """Of one period."""
        return catalogue.disk_price(self.wanted.disk, self.wanted.charge)

    @property
    def per_hour(self) -> Decimal:
        """What it costs now, per hour; what is paid in advance costs whether it runs or not."""
        hours = catalogue.HOURS[self.wanted.charge]
        running = self.state in ("Running", "Stopping")
        if self.wanted.charge != "Postpay":
            return (self.instance_price + self.disk_price) / hours
        return (self.instance_price if running else Decimal(0)) + self.disk_price


class CompshareSim(Account[Box]):
    """The account."""

    def __init__(self, settings: Settings, machines: kinds.Machines, clock: SimClock, faults: FaultPlan) -> None:
        super().__init__(settings.deposit, machines, clock, faults)
        self.settings = settings
        self._arrears_since: datetime | None = None

    def get(self, ref: str) -> Box:
        """Raises `Denied` for one that is unknown or released."""
        self.settle()
        if ref not in self.boxes:
            raise Denied(230, "Params [UHostId] not available")
        return self.boxes[ref]

    def create(self, wanted: Wanted) -> Box:
        """Rent one; it is installed and boots by itself. Raises `Denied`."""
        self.settle()
        if not self.settings.verified:
            raise Denied(226606, "The account has not been verified.")
        self._solvent()
        if len(self.boxes) >= self.settings.quota:
            raise Denied(8095, "Quota is not enough")
        if not self.in_stock(wanted.gpu):
            raise Denied(226604, "This GPU type is currently out of resources")
        image = catalogue.image(wanted.image) or {}
        container = image.get("Container") == "True"
        ref = f"{'cpod' if container else 'uhost'}-{secrets.token_hex(6)}"
        # Two boxes of one moment are still one after the other.
        now = self.clock.now() + timedelta(microseconds=len(self.wallet.meters))
        machine = self.machines.make(ref)
        box = Box(ref, wanted, container, created_at=now, machine=machine, password=kinds.password())
        self.boxes[ref] = box
        self.wallet.meter(ref)
        self._turn(box, "Initializing", now, self.settings.install_seconds)
        return box

    def start(self, ref: str, *, without_gpu: bool) -> None:
        """Power on one that is off. Raises `Denied`: a GPU is not kept for it."""
        box = self._free(ref)
        if box.state != "Stopped":
            raise Denied(8039, f"uhost state {box.state} not support this operation")
        self._solvent()
        if without_gpu:
            if not catalogue.CARDS[box.wanted.zone, box.wanted.gpu].without_gpu:
                raise Denied(230, "Params [WithoutGpu] not available")
            if any(other.without_gpu and other.state != "Stopped" for other in self.boxes.values()):
                raise Denied(8040, "only one instance without gpu is allowed")
        elif not self.in_stock(box.wanted.gpu):
            raise Denied(8357, "resource is sold out")
        box.without_gpu = without_gpu
        self._start(box, self.clock.now())

    def stop(self, ref: str, *, force: bool) -> None:
        """Power off one that runs. Raises `Denied`."""
        box = self._free(ref)
        if box.state != "Running":
            raise Denied(8039, f"uhost state {box.state} not support this operation")
        if box.wanted.charge == "Spot" and not force:
            raise Denied(8041, "spot instance can not be stopped")
        self._stop(box, self.clock.now())

    def terminate(self, ref: str) -> None:
        """Release one that is off, with its disk. Raises `Denied`."""
        box = self._free(ref)
        if box.state not in ("Stopped", "Install Fail"):
            raise Denied(8039, f"uhost state {box.state} not support this operation")
        self._erase(box, self.clock.now())

    def plan_stop(self, ref: str, when: datetime | None) -> None:
        """At `when` it is powered off; None: no more. Raises `Denied`."""
        box = self._free(ref) if when else self.get(ref)
        if box.wanted.charge == "Spot":
            raise Denied(230, "Params [UHostId] not available")
        if when is not None and when < self.clock.now() + timedelta(seconds=300):
            raise Denied(230, "Params [SchedulerStopTime] not available")
        box.stop_at = when

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        with self.lock:
            now = self.clock.now()
            for box in list(self.boxes.values()):
                while (at := _next_event(box)) is not None and at <= now:
                    self._happen(box, at)
                if (end := self._end(box)) is not None and end <= now:
                    self._erase(box, end)
            self._collect(now)

    def _end(self, box: Box) -> datetime | None:
        """When a box that stays off is deleted."""
        if box.wanted.charge != "Postpay" or box.state != "Stopped" or box.stopped_at is None:
            return None
        return box.stopped_at + timedelta(days=self.settings.off_days)

    def _solvent(self) -> None:
        if self.balance() < 0:
            raise Denied(226601, "The instance is in arrears. Please go to Order Management to pay the unpaid order.")

    def _free(self, ref: str) -> Box:
        """The box, if no operation is under way. Raises `Denied`."""
        box = self.get(ref)
        making = box.state == "Initializing" or (box.state == "Starting" and box.started_at is None)
        locked = self.settings.lock_at_create if making else box.state in ("Starting", "Stopping")
        if locked:
            raise Denied(8903, "InstanceOperationInProgress")
        return box

    def _collect(self, now: datetime) -> None:
        """Boxes of an account in arrears are stopped after an hour."""
        if self.balance() >= 0:
            self._arrears_since = None
            return
        self._arrears_since = self._arrears_since or now
        if (now - self._arrears_since).total_seconds() >= self.settings.arrears_seconds:
            for box in self.boxes.values():
                if box.state == "Running":
                    self._stop(box, now)

    def _happen(self, box: Box, at: datetime) -> None:
        if box.due is None or box.due > at:
            box.stop_at = None
            self._stop(box, at)
        elif box.state == "Initializing" and box.wanted.image in self.settings.bad_images:
            self._turn(box, "Install Fail", at)
        elif box.state == "Initializing":
            self._start(box, at)
        elif box.state == "Starting":
            box.booted()
            self._turn(box, "Running", at)
        else:
            self._turn(box, "Stopped", at)

    def _start(self, box: Box, at: datetime) -> None:
        box.switch_on("", lambda went: self._went_off(box, went))
        self._turn(box, "Starting", at, self.settings.start_seconds)

    def _stop(self, box: Box, at: datetime) -> None:
        box.switch_off()
        self._turn(box, "Stopping", at, self.settings.stop_seconds)

    def _erase(self, box: Box, at: datetime) -> None:
        box.destroy()
        self.wallet.meter(box.ref).set(at, Decimal(0))
        del self.boxes[box.ref]

    def _went_off(self, box: Box, went: int) -> None:
        """The box has shut itself down; its bill ends."""
        with self.lock:
            self.settle()
            if box.went == went and box.state in ("Starting", "Running"):
                self._turn(box, "Stopped", self.clock.now())

    def _turn(self, box: Box, state: State, at: datetime, seconds: float | None = None) -> None:
        box.state = state
        box.due = None if seconds is None else at + timedelta(seconds=seconds)
        if state == "Running":
            box.started_at = at
        if state == "Stopped":
            box.stopped_at = at
        self.wallet.meter(box.ref).set(at, box.per_hour)


def _next_event(box: Box) -> datetime | None:
    """When something happens to it next: its state changes, or its planned stop comes while it runs."""
    if box.due is not None:
        return box.due
    return box.stop_at if box.state == "Running" else None
