"""What every provider can do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.remote.login import Endpoint

# starting, stopping: on its way, and billed. unknown: the provider has no way to tell; a box that does not answer may
# be off, gone, or behind a broken network.
State = Literal["starting", "running", "stopping", "stopped", "gone", "unknown"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole box costs per hour while it runs, and while it is powered off; `currency` by ISO 4217."""

    per_hour: Decimal
    currency: str
    stopped_per_hour: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be rented.

    `name` is unique among all boxes ever asked for, and goes into the provider's own name field, so that a box whose
    rental nobody lived to note down is found again by it. `power_off_after`: the guard that goes in with the call.
    """

    name: str
    box: BoxFile
    power_off_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rented:
    """A box as the provider hands it over when it runs.

    `ref` is the provider's own name of it. `host_key` is what the provider says the box will show, when it does say.
    """

    ref: str
    endpoint: Endpoint
    password: str | None = field(default=None, repr=False)
    host_key: str | None = None
    identity_installed: bool = False
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a running box answers now. `let_in`: this machine's address was not admitted there until this moment."""

    endpoint: Endpoint
    let_in: bool = False


@dataclass(frozen=True, slots=True)
class Alive:
    """A box that the account has, as the provider's list shows it.

    `name` is the provider's name field. `billing`: it costs money now, running or for its disks. `stopped_at`: since
    when a stopped one has been off. `erase_at`: when the provider deletes it by itself.
    """

    ref: str
    name: str
    state: State
    billing: bool
    gpu: str | None = None
    gpu_count: int | None = None
    price: Price | None = None
    region: str | None = None
    created_at: datetime | None = None
    stopped_at: datetime | None = None
    erase_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a box shall have at least; `ram_gib` in GiB of main memory of the whole box, `max_price` per hour of it."""

    gpu: str | None = None
    count: int = 1
    ram_gib: float | None = None
    max_price: Decimal | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of box that can be rented: `gpu_count` cards in one box, with what comes with them.

    Memory in GiB, of the whole box. None: the provider does not say. `in_stock`: None when only trying tells.
    `sku` is the provider's own id of the kind of card or box.
    """

    provider: str
    sku: str
    gpu: str
    gpu_count: int
    price: Price | None = None
    ram_gib: float | None = None
    vcpus: int | None = None
    vram_gib: float | None = None
    driver: str | None = None
    cuda: str | None = None
    region: str | None = None
    in_stock: bool | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Money on the account; `currency` by ISO 4217."""

    amount: Decimal
    currency: str


class Provider(Protocol):
    """One place where boxes come from.

    Every method that asks the provider raises `AuthFailed` (key or token), `Unreachable` (no answer), `Failed` (a no),
    and `Refused` for what this provider leaves to people, with how a person does it as the hint.
    """

    @property
    def name(self) -> str:
        """As in box files."""

    @property
    def bills(self) -> bool:
        """Whether its boxes cost money on an account that we have keys for: such are swept and reckoned."""

    @property
    def releases(self) -> bool:
        """Whether `release` ends the box itself. If not, `down` ends our part and says that the box still bills."""

    def create(self, order: Order) -> str:
        """Rent a box and return its ref as soon as the provider has said it; called at most once for an order.

        The ledger holds the intent before this is called. Raises `NoStock` when there is none (nothing was rented), and
        `Unreachable` when nobody can tell whether it was rented: then `find` decides, never a second `create`.
        """

    def find(self, name: str) -> str | None:
        """The ref of the live box whose order had this name; None when there is none."""

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Wait until the box runs, and return its endpoint, password and price as they are now.

        Asked anew after every power change, for all of them may move. `say` gets what it waits for. Raises `Failed`
        when the box does not come up, and `Unreachable` when that takes too long.
        """

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """Where the box answers now, asked once and not waited for, with this machine's address let in there.

        For one that answers no more where the ledger has it: somebody restarted it, or this machine has moved. None for
        a box that does not run, and where the provider cannot tell.
        """

    def state(self, record: BoxRecord) -> State:
        """Whether the box runs; `gone` only when the provider answered and its list does not have it."""

    def power_on(self, record: BoxRecord) -> None:
        """Start a stopped box; `ready` waits for it. Raises `NoStock` too."""

    def power_off(self, record: BoxRecord) -> None:
        """Stop the box and wait until the provider shows it stopped; its disks stay. Nothing to do for a stopped one.

        Raises `Unreachable` when that takes too long.
        """

    def release(self, record: BoxRecord) -> None:
        """Give a stopped box back, with its disks. Whether it is gone, the caller asks `state`."""

    def alive(self) -> list[Alive]:
        """Every box of the account that is not released, whoever made it."""

    def offers(self, wish: Wish) -> list[Offer]:
        """What the provider rents of that kind of card (all kinds without one); other wishes are the caller's to sift.

        One offer for each number of cards that makes sense for the wish: what comes with a card may decide how many.
        """

    def balance(self) -> Balance | None:
        """What is left on the account; None where the provider does not say."""

    def check(self) -> list[Finding]:
        """Judge the account without renting anything: key, permissions, balance."""
