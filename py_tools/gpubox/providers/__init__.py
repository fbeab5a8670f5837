"""Where boxes come from."""

from __future__ import annotations

from gpubox.errors import UsageError
from gpubox.providers.base import Alive, Balance, Offer, Order, Price, Provider, Rented, State, Whereabouts, Wish
from gpubox.words import did_you_mean

__all__ = [
    "PROVIDERS",
    "Alive",
    "Balance",
    "Offer",
    "Order",
    "Price",
    "Provider",
    "Rented",
    "State",
    "Whereabouts",
    "Wish",
    "provider",
]

PROVIDERS = ("attach", "local", "autodl", "compshare", "ec2")


def provider(name: str) -> Provider:
    """The provider of that name; its account is asked for at the first call. Raises `UsageError` for an unknown one."""
    if name == "attach":
        from gpubox.providers.attach import AttachProvider

        return AttachProvider()
    if name == "local":
        from gpubox.providers.local import LocalProvider

        return LocalProvider()
    if name == "autodl":
        from gpubox.providers.autodl import AutodlProvider

        return AutodlProvider()
    if name == "compshare":
        from gpubox.providers.compshare import CompshareProvider

        return CompshareProvider()
    if name == "ec2":
        from gpubox.providers.ec2 import Ec2Provider

        return Ec2Provider()
    near = did_you_mean(name, PROVIDERS)
    raise UsageError(
        f"there is no provider `{name}`" + (f"; did you mean `{near}`?" if near else ""),
        hint="use " + ", ".join(f"`{known}`" for known in PROVIDERS),
    )
