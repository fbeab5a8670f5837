"""`gpubox restore`: put a backup onto a box, the same or another one; nothing newer is overwritten unasked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpubox import backups, web_ui_restore
from gpubox.errors import LinkLost, Refused, TransferFailed, Unreachable, UsageError
from gpubox.history.about import PLACE
from gpubox.ledger import Ledger
from gpubox.reach import reach
from gpubox.remote.login import Login
from gpubox.remote.transfer_line import Shared
from gpubox.remote.transfer_push import Outgoing, Push
from gpubox.remote.transfer_session import Session
from gpubox.words import counted, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gpubox.backups import Manifest, Saved
    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord
    from gpubox.web_ui_restore import WebUi

    _Ask = Callable[[Session], dict[str, Any]]

# The history of the box that the backup is of; another box has its own.
_HISTORY = frozenset({"logs", "converge runs"})


@dataclass(frozen=True, slots=True)
class Placed:
    """A file of a backup, where it goes, and what is there: "missing", "same", "older", "newer" or "other"."""

    file: Saved
    target: str
    state: str
    there_at: datetime | None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What `restore` would do on the box `name` with the backup at `place`. Sizes in bytes.

    `history`: files that are left out, logs and converge runs of the box that the backup is of. `stops`: services that
    have one of the databases and are stopped meanwhile. `in_use`: other programs that have one open. `web_ui`: that of
    the backup and of the box.
    """

    name: str
    place: Path
    files: tuple[Placed, ...]
    history: int
    stops: tuple[str, ...]
    in_use: tuple[str, ...]
    web_ui: WebUi | None = None

    @property
    def writes(self) -> tuple[Placed, ...]:
        """What is not there yet, or is another."""
        return tuple(placed for placed in self.files if placed.state != "same")

    @property
    def newer(self) -> tuple[Placed, ...]:
        """What would be lost. A web UI in which nobody has written yet is no loss."""
        newer = (placed for placed in self.files if placed.state in {"newer", "other"})
        blank = self.web_ui is not None and self.web_ui.blank
        return tuple(placed for placed in newer if not (blank and placed.file.path.startswith(f"{PLACE}/")))

    @property
    def starts(self) -> tuple[str, ...]:
        """Services to start afterwards: those that were stopped, and the web UI, whatever state it was in."""
        own = self.web_ui.service if self.web_ui is not None else None
        return self.stops if own is None or own in self.stops else (*self.stops, own)

    @property
    def size(self) -> int:
        """Bytes to send."""
        return sum(placed.file.size for placed in self.writes)


def plan(name: str, source: Path | None = None) -> RestorePlan:
    """What `restore` would do; changes nothing. `source`: a backup's directory, the box's last one by default.

    Raises `UsageError` when there is no backup, and what `Session` raises.
    """
    with Ledger() as ledger:
        place = source or last_place(ledger, name)
        record = ledger.get(name)

    def look(record: BoxRecord) -> RestorePlan:
        with Session(Login.of(record), _root(record.root, name), "receive") as session:
            return _plan(name, place, backups.read(place), session)

    return reach(record, look)


def restore(name: str, source: Path | None = None, *, board: Board, force: bool = False) -> RestorePlan:
    """Put the backup at `source` (the last one of a box of that name) onto the box `name`; what was done.

    Every file is proven here before and on the box after; a cut link goes on where it was. Raises `Refused` when
    something newer is there and not `force`, when a program that is no service has a database open, or when the web UI
    there is older than the backup's; `Failed` when the backup has rotted, or the web UI does not work with it;
    `TransferFailed` naming what did not arrive.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        place = (source or last_place(ledger, name)).absolute()
        _root(record.root, name)
        with board.step("read every byte of the backup") as step:
            manifest = backups.checked(place)
            step.say(f"{counted(len(manifest.files), 'file')}, {manifest.size / 2**20:.1f} MiB, all as they were")
        intent = reach(record, lambda found: _put_back(found, place, manifest, board, force=force), board.note)
        detail = {"from": str(place), "files": len(intent.writes), "bytes": intent.size, "force": force}
        ledger.audit(name, "restore", "done", detail)
    return intent


def _put_back(record: BoxRecord, place: Path, manifest: Manifest, board: Board, *, force: bool) -> RestorePlan:
    name, login, root = record.name, Login.of(record), _root(record.root, record.name)
    with Shared.of(login) as shared, Session(login, root, "receive", line=shared.first) as session:

        def over(ask: _Ask) -> dict[str, Any]:
            return _again(session, login, root, ask)

        with board.step("put it back") as step:
            intent = _plan(name, place, manifest, session)
            refuse(intent, force=force)
            sent = 0

            def on_bytes(size: int) -> None:
                nonlocal sent
                sent += size
                step.say(f"{sent / 2**20:.1f} of {intent.size / 2**20:.1f} MiB")

            try:
                session.call({"do": "stop", "services": intent.stops})
                with Push(login, root, on_bytes, shared=shared) as push:
                    push.send([_outgoing(place, placed) for placed in intent.writes])
            finally:
                if starts := intent.starts:
                    over(lambda line: line.call({"do": "start", "services": starts}))
            if push.bad:
                raise _failure(name, push.bad)
            mib = intent.size / 2**20
            step.say(f"{counted(len(intent.writes), 'file')}, {mib:.1f} MiB, every SHA-256 compared on the box")
        return _proved(intent, board, over)


def _proved(intent: RestorePlan, board: Board, over: Callable[[_Ask], dict[str, Any]]) -> RestorePlan:
    """What is on the box now is a web UI's: have home know its secrets, and see that it works."""
    name, web_ui = intent.name, intent.web_ui
    if web_ui is None:
        return intent
    web_ui_restore.keep_secrets(name, intent.place)
    if web_ui.service is None:
        board.note(
            f"no web UI is set up on `{name}` yet: `gpubox up {name}` starts it with these chats, once `web_ui` stands "
            "in its box file"
        )
        return intent
    with board.step("prove the web UI") as step:
        proved = over(lambda session: web_ui_restore.prove(name, session))
        step.say(web_ui_restore.words(proved))
    for sentence in proved["notes"]:
        board.note(sentence)
    return replace(intent, web_ui=replace(web_ui, proved=proved))


def _again(session: Session, login: Login, root: str, ask: _Ask) -> dict[str, Any]:
    """Ask over the line that is open; over a login of its own when that one has been cut since."""
    try:
        return ask(session)
    except (LinkLost, Unreachable):
        with Session(login, root, "receive") as again:
            return ask(again)


def last_place(ledger: Ledger, name: str) -> Path:
    """Where the last backup of a box of that name is. Raises `UsageError`."""
    known = ledger.last_backup(name, any_box=True)
    for place in (known.place if known else None, backups.newest(backups.DEFAULT.absolute(), name)):
        if place is not None and place.is_dir():
            return place
    gone = f"; the last one was in `{known.place}`" if known else ""
    raise UsageError(
        f"no backup of `{name}` is known{gone}",
        where=name,
        hint=f"name its directory: `gpubox restore {name} gpubox-backups/{name}/20261122T093000Z`",
    )


def target_of(absolute: str, was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Where a file of a backup goes: below the other box's root, data disk or home if it was below this one's.

    `was` and `now` have `root`, `data_dir` and `home` of the two boxes.
    """
    for place in sorted(("root", "data_dir", "home"), key=lambda place: -len(was[place])):
        top = was[place].rstrip("/")
        if absolute.startswith(f"{top}/"):
            return now[place].rstrip("/") + absolute.removeprefix(top)
    return absolute


def refuse(intent: RestorePlan, *, force: bool) -> None:
    """Raise `Refused` when carrying out the plan would cost data."""
    if intent.in_use:
        raise Refused(
            f"a database of the backup is open in {intent.in_use[0]}, which is no service of gpubox",
            where=intent.name,
            hint="end that program, then restore again",
        )
    if intent.newer and not force:
        shown = shortened([_newer_words(placed) for placed in intent.newer])
        count = "1 file on the box is" if len(intent.newer) == 1 else f"{len(intent.newer)} files on the box are"
        raise Refused(
            "\n".join([f"{count} newer than the backup and would be lost:", *shown]),
            where=intent.name,
            hint=f"`gpubox backup {intent.name}` brings them home first; `--force` overwrites them",
        )


def _newer_words(placed: Placed) -> str:
    if placed.state == "other":
        return f"{placed.target}: there is something that is no file"
    return f"{placed.target}: of {placed.there_at:%Y-%m-%d %H:%M:%S} UTC"


def _plan(name: str, place: Path, manifest: Manifest, session: Session) -> RestorePlan:
    web_ui = web_ui_restore.look(name, place, session)
    now = session.call({"do": "where"})
    was = {"root": manifest.root, "data_dir": manifest.data_dir, "home": manifest.home}
    chosen = [file for file in manifest.files if file.reason not in _HISTORY]
    targets = [target_of(file.absolute, was, now) for file in chosen]
    files = [(target, file.size, file.sha256, file.mtime_ns) for file, target in zip(chosen, targets, strict=True)]
    placed = [
        _placed(chosen[answer["i"]], targets[answer["i"]], answer)
        for answer in session.answers({"do": "look", "files": files})
    ]
    databases = [entry.target for entry in placed if entry.file.copy == "sqlite" and entry.state != "same"]
    owners = session.call({"do": "owners", "files": databases})
    history = len(manifest.files) - len(chosen)
    return RestorePlan(name, place, tuple(placed), history, tuple(owners["services"]), tuple(owners["others"]), web_ui)


def _placed(file: Saved, target: str, answer: dict[str, Any]) -> Placed:
    at = answer.get("mtime_ns")
    return Placed(file, target, answer["state"], datetime.fromtimestamp(at / 1e9, UTC) if at is not None else None)


def _outgoing(place: Path, placed: Placed) -> Outgoing:
    file = placed.file
    there = {
        "target": placed.target,
        "size": file.size,
        "sha256": file.sha256,
        "mtime_ns": file.mtime_ns,
        "mode": file.mode,
        "uid": file.uid,
        "gid": file.gid,
        "copy": file.copy,
    }
    return Outgoing(place / backups.FILES / file.path, file.size, there)


def _root(root: str | None, name: str) -> str:
    if root is None:
        raise UsageError(f"nothing was ever set up on `{name}`", where=name, hint=f"gpubox up {name}")
    return root


def _failure(name: str, bad: dict[str, str]) -> TransferFailed:
    shown = shortened([f"{path}: {reason}" for path, reason in sorted(bad.items())])
    count = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    return TransferFailed(
        "\n".join([f"{count} did not arrive on the box:", *shown]),
        where=name,
        hint="what did arrive is kept; the same command sends the rest",
    )
