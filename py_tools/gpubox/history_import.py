"""`gpubox history import`: chats into a web UI by its own API, each of them once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubox import web_ui_line
from gpubox.errors import Failed, GpuboxError, UsageError
from gpubox.history.sources import open_source
from gpubox.reach import reach
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged
from gpubox.words import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpubox.converge.progress import Board
    from gpubox.history.sources import Incoming
    from gpubox.ledger import BoxRecord

SERVICE = "open-webui"
# Chats that one call takes: what is in before a line breaks stays in.
_BATCH, _BATCH_MESSAGES = 100, 2000


@dataclass
class Imported:
    """What became of every chat, or would (`dry`). `kept`: was there already; `older`: is there, as it was before.

    `users`: how many came in for whom. `files`: given with new chats, and not brought along.
    """

    name: str
    source: str
    new: int = 0
    kept: int = 0
    older: int = 0
    empty: int = 0
    refused: list[str] = field(default_factory=list)
    users: dict[str, int] = field(default_factory=dict)
    files: int = 0
    dry: bool = False

    @property
    def seen(self) -> int:
        """How many chats were looked at."""
        return self.new + self.kept + self.older + self.empty + len(self.refused)

    def words(self) -> str:
        """`9 new, 2 kept, 1 skipped`: what became of them."""
        parts = [f"{self.new} new", f"{self.kept} kept (there already)"]
        parts += [f"{self.older} skipped: there already, and changed since in the file"] if self.older else []
        parts += [f"{self.empty} skipped: without a message"] if self.empty else []
        parts += [f"{len(self.refused)} refused by the web UI"] if self.refused else []
        return ", ".join(parts)


def bring(name: str, place: Path, *, board: Board, user: str | None = None, dry: bool = False) -> Imported:
    """Bring the chats in `place` into the web UI of the box `name`; `dry` only says what would come in.

    A chat of our own export goes to who has its user's e-mail address, every other to the first admin; with `user` all
    go to that one. Raises `UsageError` naming a malformed chat, and `Failed` when the web UI refused some; what came in
    before stays, and both say how much that is.
    """
    source = open_source(place.absolute())
    done = Imported(name, source.kind, dry=dry)
    record = converged(name)
    total = f" of {source.total}" if source.total is not None else ""
    with board.step("look what would come in" if dry else "import the chats") as step:
        try:
            for batch in _batches(source.chats):
                chats = [chat for chat in batch if not chat.empty]
                done.empty += len(batch) - len(chats)
                call = _Call(chats, done, lambda: step.say(f"{done.seen}{total} chats"))
                if chats:
                    reach(record, lambda found, call=call: call.send(found, user, dry=dry), board.note)  # type: ignore[misc]
        except GpuboxError as error:
            raise _so_far(error, done) from error
        step.say(done.words())
    if done.refused:
        shown = "\n".join(shortened(done.refused))
        raise Failed(f"the web UI refused {len(done.refused)} chats:\n{shown}", where=name, hint=done.words())
    return done


def _batches(chats: Iterator[Incoming]) -> Iterator[list[Incoming]]:
    """A few at a time. What was read before a malformed one comes before the error."""
    batch: list[Incoming] = []
    size = 0
    mistake: UsageError | None = None
    try:
        for chat in chats:
            batch.append(chat)
            size += len(chat.form["chat"].get("history", {}).get("messages") or {})
            if len(batch) == _BATCH or size >= _BATCH_MESSAGES:
                yield batch
                batch, size = [], 0
    except UsageError as error:
        mistake = error
    if batch:
        yield batch
    if mistake is not None:
        raise mistake


class _Call:
    """One batch on its way. After a cut only what was not answered is sent again."""

    def __init__(self, chats: list[Incoming], done: Imported, on_answer: Callable[[], None]) -> None:
        self._left = {chat.origin: chat for chat in chats}
        self._done = done
        self._on_answer = on_answer

    def send(self, record: BoxRecord, user: str | None, *, dry: bool) -> None:
        root = record.root or ""
        request = {"type": "request", "root": root, "service": SERVICE, "email": user, "dry": dry}
        chats = [{"origin": key, "email": chat.email, "form": chat.form} for key, chat in self._left.items()]
        with Host(Login.of(record)) as host:
            web_ui_line.on_box(host, root, ["bring"], self._take, [request, *chats])

    def _take(self, answer: dict[str, Any]) -> None:
        chat, done = self._left.pop(answer["origin"]), self._done
        match answer["state"]:
            case "new":
                done.new += 1
                done.files += chat.files
                done.users[answer["user"]] = done.users.get(answer["user"], 0) + 1
            case "kept":
                done.kept += 1
            case "older":
                done.older += 1
            case _:
                done.refused.append(f"{chat.title}: {answer['why']}")
        self._on_answer()


def _so_far(error: GpuboxError, done: Imported) -> GpuboxError:
    """The same error, with what is in already."""
    if not done.seen:
        return error
    hint = f"{done.words()} before that; the same command goes on from there"
    return type(error)(error.message, where=error.where, hint=f"{hint}; {error.hint}" if error.hint else hint)
