"""What can go wrong, in sentences for people."""

from __future__ import annotations


class FetchError(Exception):
    """It cannot be had; trying again would give the same."""


class TryAgainError(Exception):
    """It broke off; what was fetched so far is kept, and trying again may help."""
