"""Sizes for people."""

from __future__ import annotations


def size(amount: float) -> str:
    """Bytes as hubs and disks are sold: 404.1 GB (10**9), 31.0 MB (10**6), 7 kB."""
    if amount >= 999.95e6:
        return f"{amount / 1e9:.1f} GB"
    if amount >= 999.5e3:
        return f"{amount / 1e6:.1f} MB"
    return f"{amount / 1e3:.0f} kB" if amount >= 1000 else f"{amount:.0f} bytes"


def count(number: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
