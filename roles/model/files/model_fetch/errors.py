"""What can go wrong, as sentences with what mends it. The exit codes are those of `gpubox`."""

from __future__ import annotations

from typing import ClassVar


class Trouble(Exception):
    """Base of all expected errors; `str` is one line: what happened, and after a semicolon what mends it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)


class Asked(Trouble):
    """What was asked for does not exist: repository, revision, pattern, quant."""

    exit_code = 2


class Denied(Trouble):
    """The hub wants a token, or another one."""

    exit_code = 4


class Unreachable(Trouble):
    """A hub cannot be reached or does not answer as it should."""

    exit_code = 5


class DiskFull(Trouble):
    """There is not enough room."""


class Changed(Trouble):
    """A file at the hub is not what the hub listed: another size, another checksum."""


class Cut(Trouble):
    """A transfer ended before its end, or brought nothing for too long. Worth another try."""


class NoRanges(Trouble):
    """The server sends whole files only."""
