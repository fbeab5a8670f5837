"""Lengths of time as people write them: `30m`, `2h`, `1d`, as in box files."""

from __future__ import annotations

import re
from datetime import timedelta

from gpubox.errors import UsageError

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """`30m`, `8h` or `2d` as a time. Raises `UsageError` for anything else."""
    said = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text.strip())
    if said is None:
        raise UsageError(f"`{text}` is no length of time", hint="write minutes, hours or days, as in `30m`, `8h`, `2d`")
    return timedelta(**{_UNITS[said[2]]: int(said[1])})


def in_words(length: timedelta) -> str:
    """`40 s`, `25 min`, `2 h`, `1 h 30 min`, `3 d`: rounded to what matters."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest and hours < 10 else f"{round(minutes / 60)} h"
    return f"{round(minutes / 1440)} d"
