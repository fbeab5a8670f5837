"""The one error of these programs: a sentence that says what happened and what mends it."""

from __future__ import annotations


class Trouble(Exception):
    """It cannot go on. The text is shown to people as it stands, on one line."""
