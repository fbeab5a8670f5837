"""An account of the simulated AutoDL: its boxes, what they cost, and how they change with time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypedDict

from sim import machines as kinds
from sim.renting import Account, Rental

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sim.clock import SimClock
    from sim.faults import FaultPlan

Status = Literal["creating", "starting", "running", "shutting_down", "shutdown"]

# Thousandths of a yuan per hour and card, as seen in 2026-09 or, for the last three, made up.
PRICES = {
    "h800": 8880, "pro6000-p": 5980, "5090-p": 2880, "4090D": 1880, "v-48g": 2980, "v-32g-p": 1680, "v-48g-350w": 1980,
}  # fmt: skip
NAMES = {
    "h800": "NVIDIA H800", "pro6000-p": "NVIDIA RTX PRO 6000", "5090-p": "NVIDIA GeForce RTX 5090",
    "4090D": "NVIDIA GeForce RTX 4090 D", "v-48g": "NVIDIA GeForce RTX 4090", "v-32g-p": "NVIDIA GeForce RTX 4080",
    "v-48g-350w": "NVIDIA GeForce RTX 3090",
}  # fmt: skip
# Names differ between requests and answers.
REGIONS = {"westDC3": ("west-B", "西北B区"), "beijingDC2": ("bj-B1", "北京B区")}


class Denied(Exception):
    """The provider's no: its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def not_found() -> Denied:
    """No such box here, or an ordinary one."""
    return Denied("RecordNotFoundError", "未查询到相关实例")


def wrong_parameter() -> Denied:
    """A field that is missing, of another type or out of range."""
    return Denied("RequestParameterIsWrong", "请求参数错误")


def no_stock() -> Denied:
    """At create and at power_on."""
    return Denied("InternalError", "当前算力规格暂无库存, 请修改配置或稍等再试")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the account and the provider are. Times in simulated seconds, money in yuan.

    `stuck_below`: with less money than that a box stays `starting`. `page_limit`: longer pages are cut.
    `release_seconds`: how long a released box is still listed.
    """

    deposit: Decimal = Decimal(100)
    real_name: bool = True
    enterprise: bool = True
    creating_seconds: float = 7.0
    starting_seconds: float = 4.0
    stopping_seconds: float = 5.0
    release_seconds: float = 0.0
    saving_seconds: float = 60.0
    stuck_below: Decimal = Decimal("0.5")
    page_limit: int = 20
    off_days: int = 15
    idle: Mapping[str, int] = field(default_factory=lambda: {"RTX 4090D": 12, "RTX 5090": 0, "H800": 3})


class Options(TypedDict, total=False):
    """Keyword arguments of `autodl`: the fields of `Settings`, each of them optional."""

    deposit: Decimal
    real_name: bool
    enterprise: bool
    creating_seconds: float
    starting_seconds: float
    stopping_seconds: float
    release_seconds: float
    saving_seconds: float
    stuck_below: Decimal
    page_limit: int
    off_days: int
    idle: Mapping[str, int]


@dataclass
class Instance(Rental):
    """One box."""

    uuid: str
    name: str
    spec: str
    amount: int
    region: str
    start_command: str
    status: Status = "creating"
    status_at: datetime | None = None
    released_at: datetime | None = None

    @property
    def per_hour(self) -> Decimal:
        """Yuan, of the whole box."""
        return Decimal(PRICES[self.spec]) * self.amount / 1000


@dataclass
class Image:
    """A saved one."""

    uuid: str
    name: str
    created_at: datetime
    finished_at: datetime


class AutodlSim(Account[Instance]):
    """The account."""

    def __init__(self, settings: Settings, machines: kinds.Machines, clock: SimClock, faults: FaultPlan) -> None:
        super().__init__(settings.deposit, machines, clock, faults)
        self.settings = settings
        self.images: list[Image] = []

    def get(self, uuid: str) -> Instance:
        """Raises `Denied` for one that is unknown or released."""
        self.settle()
        if uuid not in self.boxes:
            raise not_found()
        return self.boxes[uuid]

    def create(self, name: str, spec: str, amount: int, region: str, start_command: str) -> Instance:
        """Rent one; it boots by itself. Raises `Denied` without stock."""
        self.settle()
        self._need_stock(spec)
        uuid, now = f"pro-{secrets.token_hex(6)}", self.clock.now()
        # Two boxes of one moment are still one after the other.
        now += timedelta(microseconds=len(self.wallet.meters))
        machine = self.machines.make(f"autodl-{uuid}")
        one = Instance(uuid, name, spec, amount, region, start_command, created_at=now, machine=machine)
        self.boxes[uuid] = one
        self.wallet.meter(uuid)
        self._turn(one, "creating", now, self.settings.creating_seconds)
        return one

    def power_on(self, uuid: str, start_command: str | None) -> None:
        """Start a stopped one, if its kind is free: a GPU is not kept for it. Raises `Denied`."""
        one = self.get(uuid)
        if one.status != "shutdown":
            raise Denied("InternalError", "实例当前状态不支持该操作")
        self._need_stock(one.spec)
        if start_command is not None:
            one.start_command = start_command
        self._start(one, self.clock.now())

    def power_off(self, uuid: str) -> None:
        """Stop a running one; while it starts, accepted and lost. Raises `Denied` while it stops and when it is off."""
        one = self.get(uuid)
        if one.status in ("shutting_down", "shutdown"):
            raise Denied("InternalError", "实例当前状态不支持该操作")
        if one.status == "running":
            one.switch_off()
            self._turn(one, "shutting_down", self.clock.now(), self.settings.stopping_seconds)

    def release(self, uuid: str) -> None:
        """Give a stopped one back. Raises `Denied` for one that is not off."""
        one = self.get(uuid)
        if one.status != "shutdown":
            raise Denied("BadRequest", "请在实例关机状态下执行释放操作")
        one.released_at = self.clock.now() + timedelta(seconds=self.settings.release_seconds)
        self.settle()

    def save_image(self, uuid: str, name: str) -> Image:
        """Begin to save the disk of a stopped one. Raises `Denied` for one that is not off."""
        if self.get(uuid).status != "shutdown":
            raise Denied("InternalError", "保存实例镜像前，请确保实例是关机状态")
        now = self.clock.now()
        image = Image(f"image-{secrets.token_hex(5)}", name, now, now + timedelta(seconds=self.settings.saving_seconds))
        self.images.insert(0, image)
        return image

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        now = self.clock.now()
        for one in list(self.boxes.values()):
            while one.due is not None and one.due <= now and self._next(one, one.due):
                pass
            kept = timedelta(days=self.settings.off_days)
            if one.status == "shutdown" and one.stopped_at is not None and one.stopped_at + kept <= now:
                one.released_at = one.released_at or one.stopped_at + kept
            if one.released_at is not None and one.released_at <= now:
                one.destroy()
                del self.boxes[one.uuid]
        if self.balance() <= 0:
            for one in self.boxes.values():
                if one.status == "running":
                    one.switch_off()
                    self._turn(one, "shutdown", now)

    def _need_stock(self, spec: str) -> None:
        if not self.in_stock(spec):
            raise no_stock()

    def _next(self, one: Instance, at: datetime) -> bool:
        """The next status of `one`, from `at` on; false when there is none yet."""
        if one.status == "creating":
            self._start(one, at)
        elif one.status == "starting":
            if self.balance() < self.settings.stuck_below:
                return False
            one.booted()
            self._turn(one, "running", at)
        elif one.status == "shutting_down":
            self._turn(one, "shutdown", at)
        return True

    def _start(self, one: Instance, at: datetime) -> None:
        one.password = kinds.password()
        one.switch_on(one.start_command, lambda went: self._went_off(one, went))
        self._turn(one, "starting", at, self.settings.starting_seconds)

    def _went_off(self, one: Instance, went: int) -> None:
        """The box has shut itself down; its bill ends."""
        with self.lock:
            self.settle()
            if one.went == went and one.status in ("starting", "running"):
                self._turn(one, "shutdown", self.clock.now())

    def _turn(self, one: Instance, status: Status, at: datetime, seconds: float | None = None) -> None:
        one.status, one.status_at = status, at
        one.due = None if seconds is None else at + timedelta(seconds=seconds)
        if status == "running":
            one.started_at = at
        if status == "shutdown":
            one.stopped_at = at
        # Billed by the second, by power state only.
        self.wallet.meter(one.uuid).set(at, one.per_hour if status in ("running", "shutting_down") else Decimal(0))
