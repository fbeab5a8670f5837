"""The one error of this package."""

from __future__ import annotations


class Trouble(Exception):
    """Something that a person has to mend; the text says what, where and how."""
