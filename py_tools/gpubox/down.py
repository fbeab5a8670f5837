"""`gpubox down`: bring home what exists only on the box, verify it, stop everything, give the box back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox import backup as saving
from gpubox import backups, orders, prices, receipt
from gpubox.errors import Failed, GpuboxError, Refused, RemoteCommandFailed, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.providers.attach import how_by_hand
from gpubox.providers.clock import WALL
from gpubox.receipt import Receipt
from gpubox.releasing import give_back
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.remote.tunnel import stop_tunnels
from gpubox.renting import power_off, power_on
from gpubox.takedown import Plan
from gpubox.takedown_look import in_short, look
from gpubox.teardown import Teardown, cannot_be_seen, ending_in_a_refusal, saying_what_is_left
from gpubox.words import counted, exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.converge.progress import Board
    from gpubox.ledger import BackupRecord, BoxRecord
    from gpubox.providers import Balance, Provider
    from gpubox.providers.clock import Clock


@dataclass(frozen=True, slots=True)
class _Saved:
    """What came home, and how many of the box's processes are left; None: nobody could look."""

    place: Path | None = None
    files: int = 0
    size: int = 0
    notes: tuple[str, ...] = ()
    left: int | None = 0


def down(
    name: str,
    *,
    board: Board,
    confirm: Callable[[Plan], bool],
    results: Path | None = None,
    to: Path | None = None,
    discard: bool = False,
    clock: Clock = WALL,
) -> Receipt:
    """Take the box down. `confirm` sees the plan first; `discard` gives up what exists only on the box.

    What comes home goes below `to` as `gpubox backup` puts it (`./gpubox-backups`), the receipt to `results`, else
    `./gpubox-results/<name>-<UTC time>`. It can be interrupted or fail anywhere: again goes on where it ended. Raises
    `Refused` when the box cannot be looked at or is not gone in the end, when `confirm` says no, and `Failed` when a
    file did not arrive whole; each says what still runs and what that costs.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        before = _balance(ledger, source)
        teardown = Teardown(ledger, source, board, results, to, discard, before, clock)
        with saying_what_is_left(teardown, name, but=Refused):
            found = _settled(teardown, record)
            if found is None:
                never = Plan(record, "gone", "nothing", releases=True, reason="it was never rented")
                return _receipt(teardown, never, _Saved(), still=None)
            intent, woken = _looked_at(teardown, found)
        with board.aside():
            agreed = confirm(intent)
        if not agreed:
            if woken:
                _off_again(teardown, name)
            raise Refused("nothing was done", where=name)
        ledger.audit(name, "down", "begun", {"seen": intent.seen, "bytes": intent.size, "discard": discard})
        with saying_what_is_left(teardown, name):
            saved = _save_and_stop(teardown, intent)
        return _end(teardown, replace(intent, record=ledger.get(name)), saved)


def results_place(name: str, below: Path = Path("gpubox-results")) -> Path:
    """A new directory for what is written about the box `name`, named by the time (UTC)."""
    return below.absolute() / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _settled(teardown: Teardown, record: BoxRecord) -> BoxRecord | None:
    """The box, with the name that its provider gave it; None when it was never rented."""
    if not teardown.source.releases or record.provider_ref is not None:
        return record
    with teardown.board.step("was it ever rented?") as step:
        found = orders.settle(teardown.ledger, record, teardown.source, say=step.say, clock=teardown.clock)
        step.say(found.provider_ref or "" if found else "no")
    return found


def _looked_at(teardown: Teardown, record: BoxRecord) -> tuple[Plan, bool]:
    """The plan, and whether the box had to be powered on for it. Raises `Refused` when what is there would be lost."""
    ledger, source, board, name = teardown.ledger, teardown.source, teardown.board, record.name
    with board.step("what exists only on the box") as step:
        intent = look(ledger, record, source, discard=teardown.discard, say=board.note)
        step.say(in_short(intent))
    if intent.state == "stopped" and record.state == "running" and intent.seen != "saved":
        record = ledger.update(name, state="stopped")  # By its guard, or in its provider's console.
        intent = replace(intent, record=record)
    off = intent.state in {"stopped", "stopping"} and record.root is not None
    if intent.seen == "unseen" and off and not teardown.discard:
        return _looked_at_after_power_on(teardown, intent), True
    if intent.seen == "unseen" and not teardown.discard:
        raise cannot_be_seen(teardown, intent, intent.reason or "")
    return intent, False


def _looked_at_after_power_on(teardown: Teardown, intent: Plan) -> Plan:
    """A disk can only be looked at when its box is on; when nobody can look, it is off again afterwards."""
    ledger, source, board, name = teardown.ledger, teardown.source, teardown.board, intent.name
    board.note(f"`{name}` is off: it is powered on to look at its disk")
    try:
        record = power_on(ledger, intent.record, source, board, clock=teardown.clock)
        with board.step("what exists only on the box") as step:
            seen = look(ledger, record, source, discard=False)
            step.say(in_short(seen))
    except GpuboxError as error:
        _off_again(teardown, name)
        reason = f"it is off, and cannot be powered on: {error.message}"
        raise cannot_be_seen(teardown, intent, reason, first=error.hint) from error
    if seen.seen == "unseen":
        _off_again(teardown, name)
        raise cannot_be_seen(teardown, seen, seen.reason or "")
    return seen


def _off_again(teardown: Teardown, name: str) -> None:
    """As it was before we came. Should that go wrong, it is said, and what led here is raised all the same."""
    record = teardown.ledger.get(name)
    if record.state != "running":
        return
    try:
        with teardown.board.step("power off again"):
            power_off(teardown.ledger, record, teardown.source)
    except GpuboxError as error:
        teardown.board.note(error.message)


def _save_and_stop(teardown: Teardown, intent: Plan) -> _Saved:
    """Bring everything home and end everything on the box; what is written until the last program ends comes too."""
    name, ledger = intent.name, teardown.ledger
    if intent.kept and intent.seen in {"saved", "gone"} and intent.last_backup is not None:
        return _from_backup(teardown, intent, intent.last_backup)
    if intent.seen != "listed":
        stop_tunnels(name)
        return _Saved(left=None if intent.seen == "unseen" else 0)
    record = intent.record
    first = None
    if intent.running and not teardown.discard:
        first = saving.carry_out(ledger, record, board=teardown.board, to=teardown.to)
    with teardown.board.step("stop everything") as step:
        stop_tunnels(name)
        left = _stop(record)
        step.say("tunnels, services, jobs and supervisord ended")
    if teardown.discard:
        return _Saved(left=left)
    made = saving.carry_out(ledger, record, board=teardown.board, to=teardown.to)
    _verify(teardown, made.place)
    if first is not None:
        _only_the_last(teardown, first.place, made.place)
    ledger.audit(name, "saved", "done", {"place": str(made.place), "sha256": made.sha256})
    return _Saved(made.place, made.files, made.size, made.notes, left)


def _only_the_last(teardown: Teardown, first: Path, last: Path) -> None:
    """Of the two backups of one teardown the one of the resting box stays; the other only if it has what that lacks."""
    try:
        lacking = backups.succeed(first, last)
    except OSError as error:
        teardown.board.note(f"`{first}` is no longer needed, and cannot be removed: {error.strerror or error}")
        return
    if lacking:
        what = f"{len(lacking)} files" if len(lacking) > 1 else "a file"
        teardown.board.note(f"`{first}` stays: it has {what} that went when the services ended (`{lacking[0]}`)")


def _from_backup(teardown: Teardown, intent: Plan, last: BackupRecord) -> _Saved:
    """A box that is off since an earlier run has saved everything: its backup is looked at again."""
    stop_tunnels(intent.name)
    try:
        if intent.seen == "saved":
            _verify(teardown, last.place)
    except GpuboxError as error:
        raise Refused(
            f"the backup of `{intent.name}` is not what it was: {error.message}",
            where=error.where or intent.name,
            hint=f"power the box on and fetch it again: `gpubox start {intent.name}`",
        ) from error
    return _Saved(last.place, last.files, last.size, (), 0)


def _verify(teardown: Teardown, place: Path) -> None:
    with teardown.board.step("verify what came home") as step:
        manifest = backups.checked(place)
        step.say(f"{counted(len(manifest.files), 'file')}, {manifest.size / 2**20:.1f} MiB, every SHA-256 verified")


def _stop(record: BoxRecord) -> int:
    """End everything on the box; how many of its processes are left."""
    try:
        with Host(Login.of(record)) as host:
            answer: dict[str, Any] = Boxctl(host, record.root or "").call("shutdown", timeout=180, retry=True)
    except RemoteCommandFailed as error:
        raise Refused(
            f"not everything on the box could be stopped: {error.message}",
            where=record.name,
            hint=f"look at it with `gpubox status {record.name}`",
        ) from error
    return int(answer.get("left", 0))


def _end(teardown: Teardown, intent: Plan, saved: _Saved) -> Receipt:
    """Give the box back, where it can be; write the receipt; then close it in the ledger."""
    ledger, source, record = teardown.ledger, teardown.source, intent.record
    made: list[Receipt] = []
    if not source.releases:
        made.append(_receipt(teardown, intent, saved, still=how_by_hand(record, "release")))
        ledger.update(record.name, state="released", digest=None)
    else:

        def close(gone: BoxRecord) -> None:
            _refuse_a_second(teardown, gone)
            made.append(_receipt(teardown, replace(intent, record=gone), saved, still=None))

        with teardown.board.step(f"give the box back to `{record.provider}`") as step, ending_in_a_refusal(record):
            _give_back(teardown, record, step.say, close)
            step.say("gone")
    ledger.audit(record.name, "down", "done", asdict(made[-1]))
    return made[-1]


def _give_back(
    teardown: Teardown, record: BoxRecord, say: Callable[[str], None], close: Callable[[BoxRecord], None]
) -> None:
    ledger, source = teardown.ledger, teardown.source
    try:
        give_back(ledger, record, source, say=say, clock=teardown.clock, closing=close)
    except (Unreachable, Failed):
        # The call may have been heard although its answer was lost.
        if not _is_gone(source, record):
            raise
        record = ledger.get(record.name)
        give_back(ledger, record, source, say=say, clock=teardown.clock, closing=close)


def _is_gone(source: Provider, record: BoxRecord) -> bool:
    """False also when the provider does not say: what led here is then what is told."""
    try:
        return source.state(record) == "gone"
    except GpuboxError:
        return False


def _refuse_a_second(teardown: Teardown, record: BoxRecord) -> None:
    """One order, one box: should its provider have made two of it, the other one is not forgotten."""
    if record.order is None or not teardown.source.bills:
        return
    other = teardown.source.find(record.order)
    if other is not None and other != record.provider_ref:
        teardown.ledger.update(record.name, provider_ref=other, state="running", host_key=None, root=None)
        raise Refused(
            f"`{record.provider_ref}` is gone, but `{record.provider}` has another box of the same order: `{other}`",
            where=record.name,
        )


def _receipt(teardown: Teardown, intent: Plan, saved: _Saved, *, still: str | None) -> Receipt:
    ledger, record = teardown.ledger, intent.record
    now = ledger.now()
    rates = next((b.rates for b in ledger.bills() if b.record.created_at == record.created_at), ())
    after = _balance(ledger, teardown.source)
    notes = [*saved.notes, *([intent.reason] if intent.seen in {"gone", "nothing"} and intent.reason else [])]
    written = Receipt(
        name=record.name,
        provider=record.provider,
        ref=record.provider_ref,
        host=record.host,
        port=record.port,
        added_at=record.created_at.isoformat(timespec="seconds"),
        down_at=now.isoformat(timespec="seconds"),
        hours=round((now - record.created_at).total_seconds() / 3600, 4),
        hours_on=round(receipt.hours_on(rates, now), 4),
        price_per_hour=exact(record.price_per_hour),
        stopped_per_hour=exact(record.stopped_per_hour),
        spent=exact(ledger.spent(record.name)),
        balance_before=exact(teardown.balance.amount) if teardown.balance else None,
        balance_after=exact(after.amount) if after else None,
        currency=record.currency or (after.currency if after else None),
        backup=str(saved.place) if saved.place else None,
        files=saved.files,
        size=saved.size,
        verified=saved.place is not None,
        discarded=teardown.discard and intent.seen in {"listed", "unseen"},
        processes_left=saved.left,
        released=teardown.source.releases,
        still_to_do=still,
        notes=tuple(notes),
        results=str(teardown.results or results_place(record.name)),
    )
    try:
        receipt.write(written, Path(written.results or ""))
    except OSError as error:
        # Whatever becomes of the paper, the box is gone; the ledger keeps the same.
        teardown.board.note(f"the receipt cannot be written to {written.results}: {error.strerror or error}")
        return replace(written, results=None)
    return written


def _balance(ledger: Ledger, source: Provider) -> Balance | None:
    """What is left on the account; no reason to stop when it does not say."""
    try:
        return prices.note_balance(ledger, source)
    except GpuboxError:
        return None
