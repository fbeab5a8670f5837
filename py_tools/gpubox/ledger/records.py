"""What stands in the ledger, typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path  # noqa: TC003 -- pydantic evaluates annotations
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from gpubox.errors import UsageError

# intended: written before the provider is asked, so that a crash in between leaves a trace.
BoxState = Literal["intended", "running", "stopped", "released"]
Outcome = Literal["begun", "done", "failed"]

Moment = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]  # ISO 4217

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?")


class BoxRecord(BaseModel):
    """One box. What is not known yet is None. Times are UTC.

    `order`: the unique name that the provider was asked to give it. Prices are of the whole box, per hour, and `budget`
    is what it may cost in all, in `currency`. `guard_at`: when its guard powers it off. `powered_off_at`: since when it
    is off. `erase_at`: when its provider deletes it by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    provider: str
    provider_ref: str | None = None
    state: BoxState = "intended"
    host: str | None = None
    port: int | None = None
    user: str | None = None
    proxy_jump: str | None = None
    host_key: str | None = None
    identity_file: Path | None = None
    box_file: Path | None = None
    root: str | None = None
    data_dir: str | None = None
    facts: dict[str, Any] | None = None
    digest: str | None = None
    order: str | None = None
    gpu: str | None = None
    gpu_count: int | None = None
    region: str | None = None
    price_per_hour: Money | None = None
    stopped_per_hour: Money | None = None
    currency: Currency | None = None
    budget: Money | None = None
    guard_at: Moment | None = None
    powered_off_at: Moment | None = None
    erase_at: Moment | None = None
    created_at: Moment
    updated_at: Moment

    @model_validator(mode="after")
    def _money_of_some_currency(self) -> Self:
        if self.currency is None and (self.price_per_hour, self.stopped_per_hour) != (None, None):
            raise ValueError("a price needs a currency")
        return self


class Audit(BaseModel):
    """One thing that was done with a box. Secrets in `detail` are hidden before they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    action: str
    outcome: Outcome
    detail: dict[str, Any]
    at: Moment


class BalanceRecord(BaseModel):
    """What an account had left at some time; below zero when it is owed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    at: Moment
    amount: Annotated[Decimal, Field(allow_inf_nan=False)]
    currency: Currency


class BackupRecord(BaseModel):
    """A backup of a box that came home whole: its directory, number of files, bytes, and its manifest's SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    at: Moment
    place: Path
    files: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Rate:
    """What a box costs per hour from `at` on, until its next rate. None: not known.

    `assumed`: the price is not known, or is that of the time before its last power-on; the next one that the provider
    tells holds from `at` on, too.
    """

    at: datetime
    state: Literal["running", "stopped", "released"]
    per_hour: Decimal | None
    currency: str | None
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """A box with the rates that it was billed by, oldest first."""

    record: BoxRecord
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True)
class Spending:
    """What one box has cost on one day (UTC), not rounded."""

    box: str
    provider: str
    day: date
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Unpriced:
    """For how long a box ran at a price that nobody has told."""

    box: str
    provider: str
    seconds: float


def check_name(name: str) -> str:
    """`name`, when it can name a box (and so a file, a directory and a host). Raises `UsageError`."""
    if _NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40].strip("-")
    raise UsageError(
        f"`{name}` cannot be the name of a box: up to 40 letters, digits and dashes, no dash at either end",
        hint=f"choose another name, as in `{plain or 'my-box'}`",
    )
