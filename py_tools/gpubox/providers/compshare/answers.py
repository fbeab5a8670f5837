"""CompShare's no, as typed errors.

Every answer is HTTP 200 with a `RetCode`. Sources: the provider's error page (2266xx, 8433), its questions and answers
(8357, 8095, 8429), and codes that others met on real accounts (161, 171, 172, 210, 230, 292, 8333, 8903).
"""

from __future__ import annotations

import re

from gpubox.errors import AuthFailed, Failed, GpuboxError, NoStock, Unreachable

PROJECT_VARIABLE = "COMPSHARE_PROJECT_ID"
_IN_PROGRESS = "InstanceOperationInProgress"
_KEYS = "https://console.compshare.cn/uaccount/api_manage"
_ORDERS = "https://console.compshare.cn/uaccount/order_list"
_PAY = f"pay the open order at {_ORDERS}, then try again"
_PROJECT = f"set `{PROJECT_VARIABLE}` to a project of yours (org-...), and see what the key may do at {_KEYS}"


class Busy(Failed):
    """Another operation on the same box has not ended. Its lock lasts 10 minutes at most."""


class NotAvailable(Failed):
    """CompShare does not know the action, or not that value of a parameter."""


class NotPermitted(AuthFailed):
    """The key is right, and may not do this."""


_Kind = type[GpuboxError]
_TABLE: dict[int, tuple[_Kind, str, str | None]] = {
    160: (NotAvailable, "there is no such action", None),
    161: (NotAvailable, "there is no such action", None),
    171: (
        AuthFailed,
        "the signature is wrong: the private key does not belong to the public key, or is of another site",
        f"copy both keys anew from {_KEYS}; keys of ucloud.cn do not work here",
    ),
    172: (AuthFailed, "the public key is not known", f"copy both keys anew from {_KEYS}"),
    210: (NotAvailable, "a parameter is missing", None),
    230: (NotAvailable, "a value is not available there", None),
    292: (NotPermitted, "the key may not use this project", _PROJECT),
    299: (NotPermitted, "the key may not do this", _PROJECT),
    8095: (
        Failed,
        "the account may have no more boxes",
        "release one (`gpubox sweep` lists them), or ask CompShare for a higher level",
    ),
    # Its words are of a "cpu memory ratio"; it comes for every ratio where the zone does not have that card.
    8333: (NoStock, "the zone has no such card, or not with these CPUs and this memory", "choose another zone"),
    8357: (NoStock, "it is sold out", "`gpubox up NAME --wait 2h` tries until there is one"),
    8429: (Failed, "the box is past its time, or there is an unpaid order", _PAY),
    8433: (Unreachable, "the service is out of order", "try again later; if it stays so, ask CompShare's support"),
    8903: (Busy, "another operation on the box has not ended", "try again in some minutes"),
    226601: (Failed, "the box is in arrears", _PAY),
    226602: (
        Failed,
        "the box is past its time",
        "renew it at https://console.compshare.cn/uaccount/renew, then try again",
    ),
    226603: (
        Failed,
        "the image does not go with this card",
        "choose another `compshare.image`, or leave it out",
    ),
    226604: (NoStock, "there is none in stock", "`gpubox up NAME --wait 2h` tries until there is one"),
    226605: (Busy, "the image is still being made ready", "try again in some minutes"),
    226606: (
        AuthFailed,
        "the account is not verified",
        "verify it (实名认证) at https://console.compshare.cn/uaccount, then try again",
    ),
}


def refusal(action: str, code: int, message: str) -> GpuboxError:
    """The error for a `RetCode` other than 0. `message`: CompShare's own words, shown as they are."""
    kind, words, hint = _TABLE.get(code, (Failed, "", None))
    if _IN_PROGRESS in message:
        kind, words, hint = _TABLE[8903]
    said = re.sub(r"\s+", " ", message).strip()[:300]
    told = ": ".join(part for part in (words, f'"{said}"' if said else "") if part) or "no reason given"
    return kind(f"CompShare says no to {action}: {told} (RetCode {code})", where="compshare", hint=hint)


def silence(action: str, url: str, what: str) -> Unreachable:
    """The error for a call that nobody can tell the end of."""
    return Unreachable(
        f"CompShare did not answer {action}: {what}",
        where=url,
        hint="look at your network and at https://console.compshare.cn, then try again",
    )
