"""Where boxes come from."""

from __future__ import annotations

from gpubox.errors import NotYet, UsageError
from gpubox.providers.base import Provider, Rented, State
from gpubox.words import did_you_mean

__all__ = ["PROVIDERS", "Provider", "Rented", "State", "provider"]

PROVIDERS = ("attach", "local")
_LATER = ("autodl", "compshare", "ec2")


def provider(name: str) -> Provider:
    """The provider of that name. Raises `NotYet` for one of a later version, `UsageError` for an unknown one."""
    if name == "attach":
        from gpubox.providers.attach import AttachProvider

        return AttachProvider()
    if name == "local":
        from gpubox.providers.local import LocalProvider

        return LocalProvider()
    today = " and ".join(f"`{known}`" for known in PROVIDERS)
    if name in _LATER:
        raise NotYet(
            f"this version cannot rent boxes from `{name}` by itself; it knows {today}",
            hint='rent one on the provider\'s web page, then: gpubox add NAME "ssh -p PORT root@HOST"',
        )
    near = did_you_mean(name, PROVIDERS + _LATER)
    raise UsageError(
        f"there is no provider `{name}`" + (f"; did you mean `{near}`?" if near else ""), hint=f"use {today}"
    )
