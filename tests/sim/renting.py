"""What simulated accounts have in common: machines that boot, go off by themselves and are destroyed, and money."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from sim.money import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from decimal import Decimal

    from sim.clock import SimClock
    from sim.faults import FaultPlan
    from sim.machines import Machine, Machines


@dataclass(kw_only=True)
class Rental:
    """The machine behind a rented box. `due`: when its state changes by itself. `went`: how often its power changed."""

    created_at: datetime
    machine: Machine
    password: str = field(default="", repr=False)
    due: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    went: int = 0
    _boot: threading.Thread | None = field(default=None, repr=False)
    _boot_error: BaseException | None = None

    def switch_on(self, start_command: str, went_off: Callable[[int], None]) -> None:
        """Begin to boot; `went_off(went)` when it goes off by itself: with another `went` it is an old story."""
        self.went += 1
        went = self.went

        def boot() -> None:
            try:
                self.machine.power_on(self.password, start_command, lambda: went_off(went))
            except Exception as error:  # noqa: BLE001  # told by whoever waits for the boot
                self._boot_error = error

        self._boot = threading.Thread(target=boot, daemon=True)
        self._boot.start()

    def booted(self) -> None:
        """Wait for the boot. Raises what went wrong in it."""
        if self._boot is not None:
            self._boot.join(120)
        if self._boot_error is not None:
            raise self._boot_error

    def switch_off(self) -> None:
        """Cut the power."""
        self.went += 1
        self.machine.power_off()

    def destroy(self) -> None:
        """With its disk."""
        self.went += 1
        self.machine.destroy()

    def end(self) -> None:
        """Nobody asks for it any more."""
        self.went += 1
        if self._boot is not None:
            self._boot.join(120)


Box = TypeVar("Box", bound=Rental)


class Account(Generic[Box]):
    """Boxes by their ref, and what they cost. Used under `lock`; whoever looks first lets happen what is due."""

    def __init__(self, deposit: Decimal, machines: Machines, clock: SimClock, faults: FaultPlan) -> None:
        self.machines = machines
        self.clock = clock
        self.faults = faults
        self.wallet = Wallet(deposit)
        self.lock = threading.RLock()
        self.boxes: dict[str, Box] = {}
        self._begun = clock.now()

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        raise NotImplementedError

    def live(self) -> list[Box]:
        """What is not released, newest first."""
        with self.lock:
            self.settle()
            return sorted(self.boxes.values(), key=lambda box: box.created_at, reverse=True)

    def balance(self) -> Decimal:
        """What is left, in yuan."""
        return self.wallet.balance(self.clock.now())

    def bill(self, ref: str) -> Decimal:
        """What that box has cost so far, released or not, in yuan."""
        with self.lock:
            self.settle()
            return self.wallet.bill(ref, self.clock.now())

    def billing(self) -> list[str]:
        """The boxes that cost money now."""
        with self.lock:
            self.settle()
            return self.wallet.billing()

    def in_stock(self, kind: str) -> bool:
        """Whether there is a machine of that kind now."""
        return self.faults.has_stock(kind, (self.clock.now() - self._begun).total_seconds())

    def close(self) -> None:
        """Ends all boxes."""
        with self.lock:
            for box in self.boxes.values():
                box.end()
        self.machines.close()
