"""Providers in memory, for what asks several accounts: each does what its `Provider` promises, or what a test plans."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.providers import Alive, Balance, Offer, Order, Price, Rented, State, Whereabouts, Wish
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from gpubox.errors import GpuboxError
    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding


def alive(ref: str, name: str = "", **fields: object) -> Alive:
    """A box that runs and bills 1.98 CNY per hour, unless `fields` say otherwise."""
    usual: dict[str, object] = {
        "state": "running",
        "billing": True,
        "gpu": "RTX 4090",
        "gpu_count": 1,
        "price": Price(Decimal("1.98"), "CNY"),
        "region": "westDC3",
        "created_at": datetime(2026, 3, 1, 8, tzinfo=UTC),
    }
    return Alive(ref=ref, name=name, **{**usual, **fields})  # type: ignore[arg-type]


@dataclass
class MemoryProvider:
    """An account with boxes in a dict. `fails`: method -> error; `sticky`: boxes that `release` leaves there."""

    name: str = "autodl"
    boxes: dict[str, Alive] = field(default_factory=dict)
    market: list[Offer] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    fails: dict[str, GpuboxError] = field(default_factory=dict)
    sticky: set[str] = field(default_factory=set)
    waits: threading.Event | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    # By default it is a provider that does not say what is left.
    funds: Decimal | None = None
    bills: bool = True
    releases: bool = True

    def has(self, *boxes: Alive) -> MemoryProvider:
        """With these boxes."""
        self.boxes.update({box.ref: box for box in boxes})
        return self

    def create(self, order: Order) -> str:
        """Rents at once."""
        self._called("create", order.name)
        ref = f"pro-{len(self.boxes) + 1}"
        self.has(alive(ref, order.name))
        return ref

    def find(self, name: str) -> str | None:
        """By the name field."""
        self._called("find", name)
        return next((box.ref for box in self.boxes.values() if box.name == name), None)

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """At once."""
        self._called("ready", record.provider_ref)
        return Rented(record.provider_ref or "", Endpoint("127.0.0.1", 22, "root", None))

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """Where `ready` has it."""
        self._called("whereabouts", record.provider_ref)
        box = self.boxes.get(record.provider_ref or "")
        return Whereabouts(Endpoint("127.0.0.1", 22, "root", None)) if box and box.state == "running" else None

    def state(self, record: BoxRecord) -> State:
        """As the list shows it."""
        self._called("state", record.provider_ref)
        box = self.boxes.get(record.provider_ref or "")
        return box.state if box else "gone"

    def power_on(self, record: BoxRecord) -> None:
        """At once."""
        self._called("power_on", record.provider_ref)
        self._set(record, state="running", billing=True)

    def power_off(self, record: BoxRecord) -> None:
        """At once."""
        self._called("power_off", record.provider_ref)
        self._set(record, state="stopped", billing=False)

    def release(self, record: BoxRecord) -> None:
        """At once; a running box is refused, as AutoDL does."""
        self._called("release", record.provider_ref)
        ref = record.provider_ref or ""
        assert self.boxes[ref].state == "stopped", "a running box is not released"
        if ref not in self.sticky:
            del self.boxes[ref]

    def alive(self) -> list[Alive]:
        """All."""
        self._called("alive", "")
        return list(self.boxes.values())

    def offers(self, wish: Wish) -> list[Offer]:
        """Of the cards whose name has the wish's in it: not every provider knows every way to write a card."""
        self._called("offers", wish.gpu)
        return [offer for offer in self.market if wish.gpu is None or wish.gpu in offer.gpu]

    def balance(self) -> Balance | None:
        """What the test says."""
        self._called("balance", "")
        return None if self.funds is None else Balance(self.funds, "CNY")

    def check(self) -> list[Finding]:
        """As planned."""
        self._called("check", "")
        return self.findings

    def _set(self, record: BoxRecord, **fields: object) -> None:
        ref = record.provider_ref or ""
        self.boxes[ref] = replace(self.boxes[ref], **fields)  # type: ignore[arg-type]

    def _called(self, method: str, about: str | None) -> None:
        if self.waits is not None:
            self.waits.wait(60)
        self.calls.append((method, about or ""))
        if method in self.fails:
            raise self.fails[method]
