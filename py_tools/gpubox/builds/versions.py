"""Versions as numbers, to compare, and the known one that is nearest to another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Version = tuple[int, ...]


def numbers(text: str | None) -> Version:
    """The leading numbers of a version: "0.19.1+cu129" is (0, 19, 1); empty when there are none."""
    found = re.match(r"\d+(\.\d+)*", text or "")
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: Version) -> str:
    """(2, 35) is "2.35"."""
    return ".".join(map(str, version))


def minor(text: str) -> str:
    """ "2.10.0" is "2.10"; "3.12.3" is "3.12"."""
    return dotted(numbers(text)[:2])


def within(text: str, ends: tuple[str, str]) -> bool:
    """Whether a version is between two others, both included, as far as these are written out."""
    low, high = numbers(ends[0]), numbers(ends[1])
    return low <= numbers(text)[: len(low)] and numbers(text)[: len(high)] <= high


def key(text: str) -> tuple[Version, str]:
    """To sort by: numbers first, then what follows them (post1, rc1)."""
    found = numbers(text)
    return found, text[len(dotted(found)) :]


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """The newest known version that is not newer than `wanted`; where all are newer, the oldest; None of none."""
    ordered = sorted(known, key=key)
    below = [version for version in ordered if key(version) <= key(wanted)]
    return below[-1] if below else next(iter(ordered), None)
