"""What every provider can do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord
    from gpubox.remote.login import Endpoint

# unknown: the provider has no way to tell; a box that does not answer may be off, gone, or behind a broken network.
State = Literal["running", "stopped", "gone", "unknown"]


@dataclass(frozen=True, slots=True)
class Rented:
    """A box as the provider handed it over.

    `ref` is the provider's own name of it. `host_key` is what the provider says the box will show, when it does say.
    """

    ref: str
    endpoint: Endpoint
    password: str | None = field(default=None, repr=False)
    host_key: str | None = None
    identity_installed: bool = False


class Provider(Protocol):
    """One place where boxes come from.

    Every method that asks the provider raises `AuthFailed` (key or token), `Unreachable` (no answer), `Failed` (a no),
    and `Refused` for what this provider leaves to people, with how a person does it as the hint.
    """

    @property
    def name(self) -> str:
        """As in box files."""

    @property
    def releases(self) -> bool:
        """Whether `release` ends the box itself. If not, `down` ends our part and says that the box still bills."""

    def create(self, box: BoxFile, name: str) -> Rented:
        """Rent a box. The ledger holds the intent before this is called. Raises `NoStock` too."""

    def endpoint(self, record: BoxRecord) -> Endpoint:
        """Where SSH answers now; asked anew after every power change, for it may move."""

    def state(self, record: BoxRecord) -> State:
        """Whether the box runs."""

    def power_on(self, record: BoxRecord) -> Rented:
        """Start a stopped box. Its endpoint and password may be new. Raises `NoStock` too."""

    def power_off(self, record: BoxRecord) -> None:
        """Stop the box; its disks stay."""

    def release(self, record: BoxRecord) -> None:
        """Give the box back, with its disks. Returns when the provider no longer shows it."""
