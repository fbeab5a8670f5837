"""Small things that many messages need: the nearest known word, and what must not be shown."""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HIDDEN = "(hidden)"

_SECRET_WORDS = frozenset({"password", "passwd", "passphrase", "token", "secret", "key", "apikey", "credential"})
_PUBLIC_KEYS = frozenset({"host", "public"})


def did_you_mean(given: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is nearest to `given`; None if none is. Case, and `-` for `_`, make no difference."""
    plain = {_plain(word): word for word in known}
    near = difflib.get_close_matches(_plain(given), plain, n=1, cutoff=0.6)
    return plain[near[0]] if near else None


def is_secret_name(name: str) -> bool:
    """Whether a field or variable of that name holds a password, token or private key.

    `api_key`, `HF_TOKEN` and `rootPassword` do; `max_new_tokens`, `keep` and `host_key` (which is public) do not.
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    if _PUBLIC_KEYS.intersection(words) and words[-1] == "key":
        return False
    return any(word in _SECRET_WORDS or word.endswith(("password", "secret")) for word in words)


def redacted(value: object, name: str = "") -> object:
    """`value` with everything hidden that stands under a secret name, in mappings and lists at any depth."""
    if name and value is not None and is_secret_name(name):
        return HIDDEN
    if isinstance(value, dict):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def shortened(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first lines of a list, each indented, and how many more there are."""
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [*(f"  {line}" for line in lines[:most]), *more]


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 file`, `2 files`; `things` where an s does not make the plural."""
    return f"{count} {thing}" if count == 1 else f"{count} {things or f'{thing}s'}"


def money(amount: Decimal, currency: str | None) -> str:
    """`12.30 CNY`: an amount with two digits behind the point, more only for what two would show as nothing."""
    digits = 2 if not amount or abs(amount) >= Decimal("0.005") else 4
    return f"{amount:.{digits}f}" + (f" {currency}" if currency else "")


def exact(amount: Decimal | None) -> str | None:
    """An amount for JSON: a string, to the hundred-thousandth; None stays None."""
    if amount is None:
        return None
    text = f"{amount:.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
