"""`gpubox history export`: every chat of a web UI as JSON and Markdown, from the box or from a backup of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox import backups, web_ui_line
from gpubox.errors import AuthFailed, Failed, GpuboxError, UnknownBox, Unreachable, UsageError
from gpubox.history.about import DATABASE, PLACE
from gpubox.history.folder import Folder
from gpubox.ledger import Ledger, check_name
from gpubox.reach import reach
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged
from gpubox.words import counted

if TYPE_CHECKING:
    from gpubox.converge.progress import Board, Step
    from gpubox.ledger import BoxRecord

DEFAULT = Path("gpubox-history")


@dataclass(frozen=True, slots=True)
class Exported:
    """An export at `place`. `missing`: files that chats refer to and that are not there."""

    name: str
    place: Path
    chats: int
    messages: int
    files: int
    missing: tuple[str, ...]
    seconds: float


def export(
    name: str, *, board: Board, to: Path | None = None, source: Path | None = None, user: str | None = None
) -> Exported:
    """Write all chats of the web UI of the box `name` into `<to>/<name>-<UTC time>` (`./gpubox-history` by default).

    `source`: a backup's directory, which is read instead of the box. `user`: of this e-mail address only. Raises
    `Failed` when the web UI or the backup cannot be read, `Unreachable` naming the last backup when the box is down.
    """
    check_name(name)
    begun = time.monotonic()
    below = (to or DEFAULT).absolute()
    with board.step("export the chats") as step:
        if source is not None:
            folder = _from_backup(name, source.absolute(), below, user, step)
        else:
            folder = _from_box(name, below, user, board, step)
        missing = tuple(f"{each['name'] or each['id']}: {each['missing']}" for each in folder.files if each["missing"])
        done = Exported(
            name,
            folder.place,
            len(folder.chats),
            folder.messages,
            len(folder.files) - len(missing),
            missing,
            time.monotonic() - begun,
        )
        counts = (counted(done.chats, "chat"), counted(done.messages, "message"), counted(done.files, "file"))
        step.say(f"{', '.join(counts)}, in {done.place}")
        if folder.broken:
            raise Failed(
                f"{counted(len(folder.broken), 'chat')} cannot be read:\n"
                + "\n".join(f"  {each}" for each in folder.broken),
                where=name,
                hint=f"all the others are in `{done.place}`",
            )
    return done


def _from_box(name: str, below: Path, user: str | None, board: Board, step: Step) -> Folder:
    def fetch(record: BoxRecord) -> Folder:
        root = record.root or ""
        words = ["chats", f"{root}/{PLACE}", *_only(user)]
        with _folder(name, below, {"box": name}, step) as folder, Host(Login.of(record)) as host:
            web_ui_line.on_box(host, root, words, folder.take)
            folder.finish()
            return folder

    try:
        return reach(converged(name), fetch, board.note)
    except (Unreachable, AuthFailed, UnknownBox, UsageError) as error:
        raise _with_backup(name, error) from error


def _from_backup(name: str, source: Path, below: Path, user: str | None, step: Step) -> Folder:
    manifest = backups.read(source)
    saved = {file.path: file for file in manifest.files}.get(DATABASE)
    if saved is None:
        raise UsageError(f"the backup `{source}` has no web UI in it", where=str(source))
    database = source / backups.FILES / DATABASE
    if (reason := backups.difference(database, saved.size, saved.sha256)) is not None:
        raise Failed(f"the web UI's database in the backup is not what it was: {reason}", where=str(database))
    about = {"backup": str(source), "of": manifest.name, "made_at": manifest.made_at}
    words = ["chats", str(source / backups.FILES / PLACE), "--still", *_only(user)]
    with _folder(name, below, about, step) as folder:
        web_ui_line.here(words, folder.take)
        folder.finish()
        return folder


def _folder(name: str, below: Path, source: dict[str, Any], step: Step) -> Folder:
    return Folder(below, name, source, on_chat=lambda done, total: step.say(f"{done} of {total} chats"))


def _only(user: str | None) -> list[str]:
    return ["--user", user] if user is not None else []


def _with_backup(name: str, error: GpuboxError) -> GpuboxError:
    """The same error, with the way that needs no box."""
    with Ledger() as ledger:
        known = ledger.last_backup(name, any_box=True)
    places = (known.place if known else None, backups.newest(backups.DEFAULT.absolute(), name))
    place = next((place for place in places if place is not None and place.is_dir()), None)
    if place is None:
        return error
    return type(error)(
        error.message,
        where=error.where,
        hint=f"`gpubox history export {name} --from {place}` reads the last backup instead"
        + (f"; {error.hint}" if error.hint else ""),
    )
