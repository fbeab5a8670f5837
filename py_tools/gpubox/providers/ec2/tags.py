"""What we write on everything that we make at AWS, so that it is found again without our ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

NAME = "Name"
ORDER = "gpubox-order"
_MADE = "gpubox-made"
_USER = "gpubox-user"
_PORT = "gpubox-ssh-port"
_FROM = "gpubox-ssh-from"
# Instead of networks: the public address of whoever uses the box at the moment.
CALLER = "caller"


def of_order(order: str, *, made: datetime) -> dict[str, str]:
    """For everything that belongs to one order."""
    return {NAME: order, ORDER: order, _MADE: made.isoformat(timespec="seconds")}


def of_box(user: str, port: int, networks: tuple[str, ...]) -> dict[str, str]:
    """How the box is logged in to, for those who have its instance only."""
    return {_USER: user, _PORT: str(port), _FROM: " ".join(networks) or CALLER}


def specification(kind: str, values: dict[str, str]) -> dict[str, Any]:
    """As a call that makes a thing of that kind takes them."""
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in values.items()]}


def read(found: list[dict[str, str]] | None) -> dict[str, str]:
    """As calls that describe things answer them."""
    return {tag["Key"]: tag["Value"] for tag in found or []}


def made_at(values: dict[str, str]) -> datetime | None:
    """When we made it; None when that cannot be read."""
    try:
        made = datetime.fromisoformat(values.get(_MADE, ""))
    except ValueError:
        return None
    return made if made.tzinfo else None


def login(values: dict[str, str]) -> tuple[str | None, int, tuple[str, ...] | None]:
    """User (None: not noted), port, and the networks that may log in (None: the caller's address only)."""
    port = values.get(_PORT, "")
    networks = values.get(_FROM, CALLER)
    chosen = None if networks == CALLER else tuple(networks.split())
    return values.get(_USER), int(port) if port.isdigit() else 22, chosen
