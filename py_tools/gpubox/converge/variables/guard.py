"""Variables of the role `guard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.converge.variables.common import BILLED, section
from gpubox.errors import UsageError

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord

# Of a box that costs money and whose box file has no `guard`: when the guard of the create call would act, too.
_TTL = "24h"


def variables(box: BoxFile, record: BoxRecord | None, root: str) -> dict[str, object]:
    """Nothing that changes from one `up` to the next: what was spent is for the guard to count, and `gpubox guard`."""
    found: dict[str, object] = {
        "gpubox_guard": True,
        **({"guard_ttl": _TTL} if box.guard is None else section(box, "guard")),
    }
    if record is not None:
        # Of another rental under the same name nothing counts.
        found |= {"guard_box": record.name, "guard_life": record.created_at.isoformat()}
        if box.provider in BILLED:
            found["guard_since"] = record.created_at.isoformat()
        if record.price_per_hour and record.currency:
            price: dict[str, object] = {"guard_price_per_hour": float(record.price_per_hour)}
            found = {**price, **found, "guard_currency": record.currency}
    if box.provider == "local":
        # The machine stays on: what ends is the box's programs, its SSH server last.
        python = f"{root}/controller/bin/python"
        found |= {
            "guard_power_off": [python, "-s", "-P", "-m", "boxguard.local"],
            "guard_ssh_server": "gpubox.providers.local_box",
            "guard_marker": "",
        }
    if box.notify:
        found["guard_push_urls"] = _destinations()
    return found


def _destinations() -> list[str]:
    from gpubox import notify

    urls = notify.destinations()
    if not urls:
        raise UsageError("the box file has `notify: true`, and there is nowhere to push to", hint=notify.HOW)
    return urls
