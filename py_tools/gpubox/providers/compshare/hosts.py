"""What CompShare says of a box (an item of `UHostSet`), read: state, price, login, times."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.errors import BadSshLine, Failed
from gpubox.providers.base import Alive, Price
from gpubox.remote import sshline
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from gpubox.providers.base import State

CURRENCY = "CNY"
INSTALL_FAILED = "Install Fail"
# How many hours one price is for.
HOURS = {"Postpay": 1, "Dynamic": 1, "Spot": 1, "Day": 24, "Month": 30 * 24, "Year": 365 * 24}
# Paid by the second and afterwards: powered off, only disks and images cost.
_FREE_WHEN_OFF = ("Postpay",)
_STATES: dict[str, State] = {
    "Initializing": "starting",
    "Pending": "starting",
    "Starting": "starting",
    "Rebooting": "starting",
    "Reinstalling": "starting",
    "Resizing": "starting",
    "Running": "running",
    "Stopping": "stopping",
    "Stopped": "stopped",
    # It never ran, and can be released as it is.
    INSTALL_FAILED: "stopped",
}


@dataclass(frozen=True, slots=True)
class Host:
    """One box as the list has it, and the project whose list that was. The data holds the password."""

    data: dict[str, Any] = field(repr=False)
    project: str | None = None

    @property
    def ref(self) -> str:
        """`uhost-...` (a virtual machine) or `cpod-...` (a container)."""
        return str(self.data["UHostId"])

    @property
    def name(self) -> str:
        """The name field: for boxes of ours, the order."""
        return str(self.data.get("Name") or "")

    @property
    def said(self) -> str:
        """The state in CompShare's word."""
        return str(self.data.get("State") or "")

    @property
    def state(self) -> State:
        """`unknown` for a word that is new, and for the empty one: CompShare itself could not tell."""
        return _STATES.get(self.said, "unknown")

    @property
    def charge(self) -> str:
        """Postpay, Dynamic, Spot, Day, Month, Year."""
        return str(self.data.get("ChargeType") or "")

    @property
    def where(self) -> dict[str, object]:
        """The parameters by which every call names this box."""
        zone = str(self.data.get("Zone") or "")
        region = self.data.get("Region") or zone.rpartition("-")[0]
        return {"Region": region, "Zone": zone, "ProjectId": self.project, "UHostId": self.ref}


def price(host: Host) -> Price | None:
    """What the box costs per hour, running and powered off; None when the list does not say.

    Prices are for one period of their way of payment: an hour, a day, a month of 30 days.
    """
    instance = per_hour(host.data.get("InstancePrice"), host.charge)
    if not instance:
        return None
    disks = _priced(host.data.get("DiskPriceInfo"), host.charge)
    image = per_hour(host.data.get("CompShareImagePrice"), host.charge) or Decimal(0)
    running = instance + disks + image
    if host.charge not in _FREE_WHEN_OFF:
        return Price(running, CURRENCY, running)
    off = host.data.get("PostPayPowerOffBillingResource")
    return Price(running, CURRENCY, disks + image if off is None else _priced(off, host.charge))


def per_hour(amount: object, charge: str) -> Decimal | None:
    """A price of one period, for an hour; None for what is no price."""
    if amount is None or isinstance(amount, bool):
        return None
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        return None
    if not value.is_finite():
        return None
    hours = HOURS.get(charge, 1)
    return value if hours == 1 else (value / hours).quantize(Decimal("0.0001"))


def endpoint(host: Host) -> Endpoint | None:
    """Where a running box is logged in to; None while CompShare does not say (always, when it is off)."""
    line = str(host.data.get("SshLoginCommand") or "").strip()
    address = _public_address(host)
    if not line:
        # As their images are made: containers listen on 23 for root, Ubuntu's virtual machines on 22 for `ubuntu`.
        container = host.data.get("InstanceType") == "Container"
        return Endpoint(address, 23 if container else 22, "root" if container else "ubuntu") if address else None
    try:
        # An empty configuration: the person's own ~/.ssh/config says nothing of this box.
        return sshline.parse(line, config=Path(os.devnull)).endpoint
    except BadSshLine as error:
        raise Failed(
            f"CompShare's login line `{line}` cannot be read: {error.message}",
            where=host.ref,
            hint=f'look at the box in the console, then: gpubox add NAME "ssh -p PORT root@{address or "HOST"}"',
        ) from error


def password(host: Host) -> str | None:
    """The password, which comes in base64. Raises `Failed` for one that does not (its text is not shown)."""
    given = host.data.get("Password")
    if not given:
        return None
    try:
        return base64.b64decode(str(given), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Failed(
            "CompShare's answer holds a password that cannot be read",
            where=host.ref,
            hint="set another one in the console (重置密码), then try again",
        ) from None


def data_disks(host: Host) -> list[str]:
    """The disks besides the system disk: gpubox rents none, so a person attached them."""
    return [
        f"{disk.get('DiskId') or 'without a name'} ({disk.get('Size', '?')} GB)"
        for disk in host.data.get("DiskSet") or []
        if str(disk.get("IsBoot")).lower() != "true" and disk.get("Type") != "Boot"
    ]


def planned_stop(host: Host) -> datetime | None:
    """When CompShare will stop the box by itself; None: never."""
    # The API page and the official command line have the first name, the SDK's model the second.
    return moment(host.data.get("SchedulerStopTime") or host.data.get("StopSchedulerTime"))


def moment(value: object) -> datetime | None:
    """A time in seconds since 1970, as a number or as text; None for 0 and for what is none."""
    try:
        seconds = int(str(value))
    except ValueError:
        return None
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def alive(host: Host) -> Alive:
    """The box for `sweep`."""
    cost = price(host)
    off = host.state == "stopped"
    return Alive(
        ref=host.ref,
        name=host.name,
        state=host.state,
        billing=not off or host.charge not in _FREE_WHEN_OFF or cost is None or cost.stopped_per_hour > 0,
        gpu=str(host.data["GpuType"]) if host.data.get("GpuType") else None,
        gpu_count=int(host.data["GPU"]) if str(host.data.get("GPU") or "").isdigit() else None,
        price=cost,
        region=str(host.data.get("Zone") or "") or None,
        created_at=moment(host.data.get("CreateTime")),
        erase_at=moment(host.data.get("ReleaseTime")) if off else None,
    )


def _priced(items: object, charge: str) -> Decimal:
    """The sum of a list of resources with prices, each by its own way of payment, per hour."""
    if not isinstance(items, list):
        return Decimal(0)
    prices = (per_hour(item.get("Price"), str(item.get("ChargeType") or charge)) for item in items)
    return sum((one for one in prices if one is not None), Decimal(0))


def _public_address(host: Host) -> str | None:
    for item in host.data.get("IPSet") or []:
        if item.get("Type") != "Private" and item.get("IP") and item.get("IPMode") in (None, "", "IPv4"):
            return str(item["IP"])
    return None
