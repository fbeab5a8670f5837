"""`gpubox offers`: what can be rented now, over all configured accounts, sifted by a wish."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.asking import Answer, ask_each, configured_accounts
from gpubox.cards import card
from gpubox.errors import UnknownRegion, UsageError
from gpubox.providers import PROVIDERS, Offer, Wish
from gpubox.sifting import Sifted, sift
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

# In seconds. A provider asks several pages of its API for this, each with its own shorter limit.
TIME_LIMIT = 45.0
# GB are 10^9 bytes, GiB and a bare number 2^30.
_UNITS = {"": 1.0, "gib": 1.0, "gb": 1e9 / 2**30, "g": 1e9 / 2**30, "tib": 1024.0, "tb": 1e12 / 2**30}


@dataclass(frozen=True, slots=True)
class Market:
    """What the accounts answered, sifted; `warnings`: one line for each account that could not be asked."""

    sifted: Sifted
    asked: tuple[str, ...]
    warnings: tuple[str, ...]


def offers(wish: Wish, *, only: str | None = None, limit: float = TIME_LIMIT) -> Market:
    """Ask every configured account (or `only` that one) at once, for `limit` seconds at most, and sift what they rent.

    One account that fails is a warning. Raises its error when no account answered, `AuthFailed` when none is
    configured, and `UsageError` for a wish that names no card, or a region that no account has.
    """
    if wish.gpu is not None and not card(wish.gpu).words:
        raise UsageError(f"`{wish.gpu}` names no card", hint='say a model, as in `--gpu 4090` or `--gpu "A100 80GB"`')
    names = [_known(only)] if only else configured_accounts()
    answers = _where_it_is_known(_ask(names, wish, limit), wish)
    found = [offer for answer in answers for offer in answer.value or ()]
    sifted = sift(found, wish)
    if not sifted.matches and wish.gpu is not None:
        # What is near to the wish, only an account's whole list tells (and how it writes that card).
        whole = _ask([answer.provider for answer in answers if answer.error is None], replace(wish, gpu=None), limit)
        sifted = sift([*found, *(offer for answer in whole for offer in answer.value or ())], wish)
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    return Market(sifted, tuple(names), tuple(answer.warning for answer in answers if answer.warning))


def gib(text: str) -> float:
    """GiB of `480GB` (10^9 bytes each), `447GiB`, `0.5TB` or `480` (GiB). Raises `UsageError`."""
    said = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if said is None or said[2] not in _UNITS or not float(said[1]):
        raise UsageError(f"`{text}` is no size of memory", hint="write it as in `480GB` or `447GiB`")
    return float(said[1]) * _UNITS[said[2]]


def money(text: str) -> Decimal:
    """A price, as in `10` or `9.50`. Raises `UsageError`."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()):
        raise UsageError(
            f"`{text}` is no price",
            hint="write a number, as in `--max-price 10`; it is compared with each price in that price's own currency",
        )
    return Decimal(text.strip())


def _where_it_is_known(answers: list[Answer[list[Offer]]], wish: Wish) -> list[Answer[list[Offer]]]:
    """Without the accounts that have no such region: its name is another provider's. Raises `UnknownRegion`."""
    known = [answer for answer in answers if not isinstance(answer.error, UnknownRegion)]
    if known:
        return known
    errors = [(answer.provider, answer.error) for answer in answers if isinstance(answer.error, UnknownRegion)]
    if len(errors) == 1:
        raise errors[0][1]
    names = [name for _, error in errors for name in error.known]
    near = did_you_mean(wish.region or "", names)
    raise UnknownRegion(
        f"no account has a region `{wish.region}`" + (f"; did you mean `{near}`?" if near else ""),
        where="--region",
        hint="; ".join(f"{name}: {', '.join(error.known)}" for name, error in errors),
        known=tuple(names),
    )


def _known(name: str) -> str:
    rented = [known for known in PROVIDERS if known not in ("attach", "local")]
    if name in rented:
        return name
    near = did_you_mean(name, rented)
    raise UsageError(
        f"nothing is rented from `{name}`" + (f"; did you mean `{near}`?" if near else ""),
        hint="use " + ", ".join(f"`{known}`" for known in rented),
    )


def _ask(names: Sequence[str], wish: Wish, limit: float) -> list[Answer[list[Offer]]]:
    return ask_each(names, lambda source: source.offers(wish), limit=limit, what="its offers")
