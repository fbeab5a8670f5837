"""A JSON array of any length, element by element: a year of conversations is hundreds of megabytes in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20
_BLANK = " \t\r\n\ufeff"


def elements(file: TextIO) -> Iterator[Any]:
    """Every element of the array in `file`. Raises `ValueError` where it is none, or ends too early."""
    text, at = _more(file, "", 0)
    if at >= len(text) or text[at] != "[":
        raise ValueError("it is no JSON array")
    at += 1
    decoder = json.JSONDecoder()
    while True:
        text, at = _more(file, text, at)
        if at < len(text) and text[at] == "]":
            return
        value, text, at = _element(file, decoder, text, at)
        yield value
        text, at = _more(file, text, at)
        if at < len(text) and text[at] == ",":
            at += 1
        elif at >= len(text) or text[at] != "]":
            raise ValueError("it ends in the middle" if at >= len(text) else "there is no comma between two elements")


def _element(file: TextIO, decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, str, int]:
    """The element at `at`; as much is read as it needs, twice as much each time."""
    block = _BLOCK
    while True:
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            failure: ValueError = error
        else:
            # A number may go on where the text ends.
            if end < len(text):
                return value, text, end
            failure = ValueError("it ends in the middle")
        if not (data := file.read(block)):
            raise failure
        text, at, block = text[at:] + data, 0, block * 2


def _more(file: TextIO, text: str, at: int) -> tuple[str, int]:
    """The same, with `at` behind blanks, and at a character unless the file has ended."""
    while True:
        while at < len(text) and text[at] in _BLANK:
            at += 1
        if at < len(text) or not (data := file.read(_BLOCK)):
            return text, at
        text, at = data, 0
