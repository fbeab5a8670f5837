"""What a teardown finds before it begins: what would be lost, and what that rests on. Decisions over data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from gpubox.words import exact

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from gpubox.backup import Plan as Data
    from gpubox.ledger import Audit, BackupRecord, BoxRecord
    from gpubox.providers import State

# gone: its provider no longer has it. nothing: nothing of ours was ever put there. saved: everything came home after
# the last program had ended. power_on: off, to be powered on for a look. ask: the box itself tells. unseen: nobody
# looks.
FirstLook = Literal["gone", "nothing", "saved", "power_on", "ask", "unseen"]
# What a look came to; listed: the box has told.
Seen = Literal["gone", "nothing", "saved", "listed", "unseen"]

# Between the last backup and the power-off of a teardown lie some seconds; more is another story.
_SEALED = timedelta(hours=1)
# After one of these there may be something new on the box.
_LIFE = ("create", "power_on", "converge", "start", "add")


@dataclass(frozen=True, slots=True)
class Plan:
    """What `down` would do with a box. `data`: what exists only there, when the box has told (`seen` is "listed").

    `reason`: in words, when it has not. `running`: programs that would be stopped. `kept`: the last backup has all that
    there was. `last_heard`: when it last answered.
    """

    record: BoxRecord
    state: State
    seen: Seen
    releases: bool
    reason: str | None = None
    data: Data | None = None
    running: tuple[str, ...] = ()
    last_backup: BackupRecord | None = None
    kept: bool = False
    last_heard: datetime | None = None
    spent: Decimal | None = None
    discard: bool = False

    @property
    def name(self) -> str:
        """Of the box."""
        return self.record.name

    @property
    def size(self) -> int:
        """Bytes that exist only on the box."""
        return self.data.size if self.data else 0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`; money as exact strings, sizes in bytes."""
        record, data, last = self.record, self.data, self.last_backup
        files = data.files if data else ()
        return {
            "name": self.name,
            "provider": record.provider,
            "ref": record.provider_ref,
            "state": self.state,
            "seen": self.seen,
            "reason": self.reason,
            "size": self.size,
            "files": [
                {"path": f.path, "absolute": f.absolute, "size": f.size, "kind": f.kind, "reason": f.reason}
                for f in files
            ],
            "missing": list(data.missing) if data else [],
            "incomplete": list(data.incomplete) if data else [],
            "stops": list(self.running),
            "saves": self.seen == "listed" and not self.discard,
            "releases": self.releases,
            "last_backup": {**asdict_of(last), "place": str(last.place)} if last else None,
            "last_heard": self.last_heard.isoformat() if self.last_heard else None,
            "spent": exact(self.spent),
            "price_per_hour": exact(record.price_per_hour),
            "stopped_per_hour": exact(record.stopped_per_hour),
            "currency": record.currency,
        }


def asdict_of(backup: BackupRecord) -> dict[str, Any]:
    """A backup for `--json`."""
    return backup.model_dump(mode="json", exclude={"name"})


def first_look(*, state: State, own: bool, set_up: bool, saved: bool, discard: bool) -> FirstLook:
    """How it is found out what would be lost.

    `own`: gpubox itself has rented the box, or will not release it. `set_up`: gpubox has begun to put things there.
    `saved`: as `still_saved` says. `discard`: it shall be given up whatever is there.
    """
    if state == "gone":
        return "gone"
    if not set_up:
        # Of a box that somebody else made, nobody here knows what is on it.
        return "nothing" if own else "unseen"
    if state not in {"stopped", "stopping"}:
        return "ask"
    if saved:
        return "saved"
    return "unseen" if discard else "power_on"


def still_saved(record: BoxRecord, audits: Iterable[Audit], backup: BackupRecord | None) -> bool:
    """Whether a box that is off has nothing that the last backup lacks.

    So it is when a teardown made that backup after everything on the box had been stopped, and the box went off right
    after it and has not run since, as far as the ledger knows.
    """
    saved_at: datetime | None = None
    for audit in audits:
        if audit.action == "saved" and audit.outcome == "done":
            saved_at = audit.at
        elif audit.action in _LIFE:
            saved_at = None
    if saved_at is None or backup is None or backup.at > saved_at:
        return False
    return record.powered_off_at is None or record.powered_off_at - saved_at <= _SEALED


def last_heard(audits: Iterable[Audit], backup: BackupRecord | None) -> datetime | None:
    """When the box last answered, as far as the ledger knows."""
    heard = [audit.at for audit in audits if audit.outcome == "done" and audit.action in (*_LIFE[2:], "saved")]
    return max([*heard, *([backup.at] if backup else [])], default=None)
