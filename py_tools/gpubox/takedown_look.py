"""Looking at a box before it is taken down: what it would take along."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubox import backup as saving
from gpubox import takedown
from gpubox.errors import GpuboxError
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.reach import reach
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.takedown import Plan
from gpubox.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.providers import Provider

_ALIVE = ("running", "starting", "backoff")
# POSIX sh. Files of the home and of the data disk that are younger than our first login there; what programs keep in
# hidden directories, and what gpubox itself has brought, are nobody's work.
_BY_HAND = """
cd || exit 0
root={root}; disk=${{root%/gpubox}}
find . "$disk" -xdev \\( -path './.?*' -o -path "$root" -o -path ./gpubox-data/gpubox \\) -prune \\
  -o -type f -newer .ssh/authorized_keys -print 2>/dev/null | sort -u | head -n 1001 | wc -l
"""


def plan(name: str, *, discard: bool = False) -> Plan:
    """Look at the box and say what `down` would bring home, stop and release; changes nothing.

    A box that is off is not powered on for that. Raises what its provider raises.
    """
    with Ledger() as ledger:
        record = ledger.get(name)
        return look(ledger, record, provider(record.provider), discard=discard)


def look(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    *,
    discard: bool,
    say: Callable[[str], None] = lambda _words: None,
) -> Plan:
    """The same for a caller that has the ledger open; `say` hears where a box is found that has moved."""
    name, audits, last = record.name, ledger.audits(record.name), ledger.last_backup(record.name)
    state = source.state(record) if source.releases and record.provider_ref else "unknown"
    kept = takedown.still_saved(record, audits, last)
    first = takedown.first_look(
        state=state,
        own=not source.releases or not source.bills or any(audit.action == "create" for audit in audits),
        set_up=record.root is not None,
        saved=kept,
        discard=discard,
    )
    blank = Plan(
        record=record,
        state=state,
        seen="unseen",
        releases=source.releases,
        last_backup=last,
        kept=kept,
        last_heard=takedown.last_heard(audits, last),
        spent=ledger.spent(name),
        discard=discard,
    )
    if first == "ask":
        return _asked(blank, say)
    if first == "power_on" or (first == "unseen" and record.root is not None):
        return replace(blank, reason="it is off")
    if first == "unseen":
        return replace(blank, reason="it was not rented by gpubox, which has never been on it")
    reasons = {
        "gone": f"`{record.provider}` no longer has it",
        "nothing": "gpubox has never set anything up on it",
        "saved": f"it is off since everything came home: {last.place if last else ''}",
    }
    return replace(blank, seen=first, reason=reasons[first])


def in_short(intent: Plan) -> str:
    """What a look came to, in one line."""
    if intent.data is None:
        return intent.reason or ""
    running = ", ".join(intent.running) or "nothing"
    return f"{counted(len(intent.data.files), 'file')}, {intent.size / 2**20:.1f} MiB; running: {running}"


def _asked(blank: Plan, say: Callable[[str], None]) -> Plan:
    """What the box itself says, wherever it is by now."""
    try:
        return reach(blank.record, lambda record: _told(replace(blank, record=record)), say)
    except GpuboxError as error:
        return replace(blank, reason=error.message)


def _told(blank: Plan) -> Plan:
    record = blank.record
    with Host(Login.of(record)) as host:
        if not _has_boxctl(host, record.root or ""):
            if record.digest is not None:
                return replace(blank, reason=f"what gpubox had set up in `{record.root}` is not there any more")
            if count := _written_by_hand(host, record.root or ""):
                return replace(blank, reason=f"{count} on it were written by hand, and gpubox is not set up there")
            return replace(blank, seen="nothing", reason="gpubox has set nothing up on it")
        status = Boxctl(host, record.root or "").call("status", retry=True)
    data = saving.plan(record.name)
    running = [item["name"] for item in (*status["services"], *status["jobs"]) if item["state"] in _ALIVE]
    return replace(blank, seen="listed", data=data, running=tuple(running))


def _written_by_hand(host: Host, root: str) -> str | None:
    """How many files somebody has made on a box that gpubox is not set up on, in words."""
    count = int(host.run(_BY_HAND.format(root=shlex.quote(root)), retry=True).stdout.strip() or 0)
    if count == 0:
        return None
    return "more than 1000 files" if count > 1000 else f"{count} file{'s' if count > 1 else ''}"


def _has_boxctl(host: Host, root: str) -> bool:
    return host.run(f"test -x {shlex.quote(root)}/bin/boxctl", check=False, retry=True).exit_code == 0
