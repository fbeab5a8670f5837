"""Words to a person's phone: a box was found, money runs low. Of jobs, and of the guard, the box itself tells.

Sent by the apprise library (`pip install 'gpubox[notify]'`). A destination is a URL as apprise writes it; it holds a
secret, so it is in the environment, the keyring or a 0600 file, never in a box file, and in nobody's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox import accounts
from gpubox.durations import in_words
from gpubox.errors import AuthFailed, Failed, UsageError

if TYPE_CHECKING:
    from datetime import timedelta
    from decimal import Decimal

# Several destinations stand in it one after the other, parted by commas.
DESTINATIONS = accounts.Credential("notify", "urls", "GPUBOX_NOTIFY")
HOW = (
    f"set `{DESTINATIONS.variable}`, or `keyring set {accounts.SERVICE} {DESTINATIONS.entry}`: one URL or several,"
    " parted by commas, as in schan://KEY (Server酱), wecombot://KEY (WeCom), feishu://TOKEN, tgram://TOKEN/CHAT,"
    " jsons://HOST/PATH (your own)"
)
_PARTING = re.compile(r"\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
# What apprise does not know by these names; a plain web hook gets JSON.
_HOOKS = {"http": "json", "https": "jsons"}


@dataclass(frozen=True, slots=True)
class Sent:
    """To which kinds of destinations something went, and what went wrong, in sentences. Both empty: there are none."""

    kinds: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def destinations() -> list[str]:
    """The URLs; empty when a person has given none. Raises `AuthFailed` for a file that others can read, and
    `UsageError` for what is no URL."""
    found = accounts.find(DESTINATIONS)
    urls = [url for url in _PARTING.split(found) if url] if found else []
    for number, url in enumerate(urls, 1):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", url):
            # The URL itself is not shown: it may be a key without its scheme.
            raise UsageError(f"destination {number} of `{DESTINATIONS.variable}` is no URL", hint=HOW)
    return urls


def kind(url: str) -> str:
    """What may be shown of a destination: `schan`, `wecombot`."""
    return url.partition(":")[0].lower()


def send(title: str, words: str) -> Sent:
    """Send to every destination; never raises, for no box shall be lost over a message."""
    try:
        urls = destinations()
        return _send(urls, title, words) if urls else Sent()
    except (AuthFailed, UsageError, Failed) as error:
        return Sent((), (f"{error.message} ({error.hint})" if error.hint else error.message,))


def test() -> Sent:
    """Send a word to every destination. Raises `UsageError` when there is none, and what `destinations` raises."""
    urls = destinations()
    if not urls:
        raise UsageError("there is nowhere to send to", hint=HOW)
    return _send(urls, "gpubox: test", "This is where gpubox tells of boxes, jobs, guards and money.")


def got_box(name: str, *, kind: str, price: Decimal | None, currency: str | None, waited: timedelta) -> Sent:
    """A box was rented after `waited`; `kind` as in `RTX 4090 x 2`, `price` per hour."""
    money = f", {price} {currency} an hour" if price is not None and currency else ""
    return send(f"gpubox: got {name}", f"{name} is rented: {kind}{money}, after {in_words(waited)} of waiting.")


def balance_low(provider: str, amount: Decimal, currency: str, left: timedelta | None) -> Sent:
    """An account has `amount` left, which lasts `left` at what its boxes cost now; None: nothing runs."""
    lasts = f"; at what runs now it lasts {in_words(left)}" if left is not None else ""
    return send(f"gpubox: {provider} runs low", f"The {provider} account has {amount} {currency} left{lasts}.")


def _send(urls: list[str], title: str, words: str) -> Sent:
    apprise = _apprise()
    troubles = []
    for number, url in enumerate(urls, 1):
        name = kind(url)
        sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="gpubox", secure_logging=True))
        if not sender.add(re.sub(r"^\w+", _HOOKS.get(name, name), url, count=1)):
            troubles.append(f"destination {number} (`{name}`) is not as apprise writes it")
        elif not sender.notify(title=title, body=words):
            troubles.append(f"destination {number} (`{name}`) did not take it")
    return Sent(tuple(kind(url) for url in urls), tuple(troubles))


def _apprise() -> Any:  # noqa: ANN401 - it has no types
    import logging

    # Its log may have the URL's secrets in it, and without any handler Python prints that on stderr.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        import apprise
    except ImportError as error:
        raise Failed("the library that sends messages is missing", hint="pip install 'gpubox[notify]'") from error
    return apprise
