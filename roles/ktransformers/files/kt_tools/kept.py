"""Wheels that were built before, on this box or another: for exactly this environment, these options and this CPU."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wheelhouse import check, house

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .build import Wish


def variant(wish: Wish, flags: Iterable[str]) -> str:
    """What changes the binary besides torch and the cards: the CPU that it is for, and what was asked for.

    A native build is for the CPU that it was made on: all instructions that a compiler might have used tell it apart.
    """
    cpu = wish.cpu_instruct.lower()
    if wish.cpu_instruct == "NATIVE":
        cpu += "." + hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:12]
    return "-".join([cpu, *(["numa"] if wish.numa else []), *(["serve"] if wish.balance_serve else [])])


def find(wish: Wish, names: Iterable[str], flags: Iterable[str]) -> list[Path]:
    """A file for each of these packages; none at all when one is missing or has rotted."""
    place, found = wish.root / "wheelhouse", []
    now, word = check.fingerprint(wish.env), variant(wish, flags)
    for name in names:
        key = house.key_of(name, wish.version, now, wish.cuda_archs, word)
        try:
            wheel = house.find(place, key)
        except check.Trouble:
            wheel = None
        if wheel is None:
            return []
        found.append(place / key / wheel.file)
    return found


def keep(wish: Wish, wheels: Mapping[str, Path], flags: Iterable[str]) -> None:
    """Copies of what was built, by package. Raises `OSError` when there is no room."""
    now, word = check.fingerprint(wish.env), variant(wish, flags)
    for name, wheel in wheels.items():
        house.keep(wish.root / "wheelhouse", wheel, name, wish.version, now, wish.cuda_archs, "built", word)
