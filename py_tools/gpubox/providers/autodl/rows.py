"""What AutoDL answers, typed. Money there is in thousandths of a yuan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpubox.boxfile.autodl_cards import card
from gpubox.providers.autodl.client import unreadable
from gpubox.providers.base import Alive, Price

if TYPE_CHECKING:
    from gpubox.providers.base import State

CURRENCY = "CNY"

# The last one: seen in the web page, not in the API. `abnormal`, seen there too, is unknown: it may bill.
_STATES: dict[str, State] = {
    "creating": "starting",
    "starting": "starting",
    "running": "running",
    "shutting_down": "stopping",
    "shutdown": "stopped",
    "re_initializing": "starting",
}
# Days that a powered-off box is kept. Pay-as-you-go is what the API rents; every other way to pay is taken for the
# shortest, that of tidal boxes.
_KEPT = {"payg": 15}
_KEPT_LEAST = 7

M = TypeVar("M", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Moment(_Answer):
    """A time that may not be one."""

    time: datetime = Field(alias="Time")
    valid: bool = Field(alias="Valid")


class Row(_Answer):
    """A box in the list."""

    uuid: str
    name: str = ""
    status: str
    status_at: datetime | None = None
    created_at: datetime | None = None
    stopped_at: Moment | None = None
    charge_type: str = "payg"
    req_gpu_amount: int | None = None
    gpu_spec_uuid: str = ""
    region_name: str = ""
    region_sign: str = ""


class Page(_Answer):
    """A part of a list."""

    list: list[dict[str, Any]] | None
    max_page: int
    result_total: int


class Snapshot(_Answer):
    """A box; most of it is only told while it runs."""

    proxy_host: str = ""
    ssh_port: int = 0
    root_password: str = Field(default="", repr=False)
    payg_price: int = 0

    @property
    def price(self) -> Price | None:
        """Of the whole box; None when it does not run."""
        return Price(yuan(self.payg_price), CURRENCY) if self.payg_price > 0 else None


class Wallet(_Answer):
    """The account's money."""

    assets: int
    voucher_balance: int = 0


class Image(_Answer):
    """A saved image; it can be rented with when its status is `finished`. Size in bytes."""

    image_uuid: str
    name: str = ""
    status: str = ""
    image_size: int = 0


def read(kind: type[M], data: object, operation: str) -> M:
    """`data` as a `kind`. Raises `Unreachable`, without the data, which may hold a password."""
    try:
        return kind.model_validate(data)
    except ValidationError:
        raise unreadable(operation) from None


def state(status: str) -> State:
    """AutoDL's word in ours; `unknown` for one that nobody has seen."""
    return _STATES.get(status, "unknown")


def yuan(thousandths: int) -> Decimal:
    """1970 is 1.97 CNY."""
    return Decimal(thousandths) / 1000


def alive(row: Row, price: Price | None) -> Alive:
    """A box of the list as every provider shows them."""
    now = state(row.status)
    kind = card(row.gpu_spec_uuid) if row.gpu_spec_uuid else None
    return Alive(
        ref=row.uuid,
        name=row.name,
        state=now,
        billing=now != "stopped",
        gpu=kind.name if kind else row.gpu_spec_uuid or None,
        gpu_count=row.req_gpu_amount,
        price=price,
        region=row.region_name or row.region_sign or None,
        created_at=row.created_at.astimezone(UTC) if row.created_at else None,
        stopped_at=stopped_at(row),
        erase_at=erase_at(row),
    )


def erase_at(row: Row) -> datetime | None:
    """When AutoDL deletes a powered-off box with its disks; None for one that is on."""
    since = stopped_at(row)
    return since + timedelta(days=_KEPT.get(row.charge_type, _KEPT_LEAST)) if since is not None else None


def stopped_at(row: Row) -> datetime | None:
    """Since when a powered-off box has been off; None for one that is on."""
    if state(row.status) != "stopped":
        return None
    since = row.stopped_at.time if row.stopped_at is not None and row.stopped_at.valid else row.status_at
    return since.astimezone(UTC) if since is not None else None
