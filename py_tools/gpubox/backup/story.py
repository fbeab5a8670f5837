"""The order in which a backup happens: list, room at home, bytes, hashes, manifest."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpubox import backups, wheelhouse
from gpubox.backup import listing, web_ui
from gpubox.backup.control import Control
from gpubox.backup.gather import Gather
from gpubox.backup.reuse import Reuse
from gpubox.backup.workplace import workplace
from gpubox.errors import GpuboxError
from gpubox.ledger import Ledger
from gpubox.reach import reach
from gpubox.remote.login import Login
from gpubox.remote.transfer_fetch import CONNECTIONS, Fetch
from gpubox.remote.transfer_item import cannot_write
from gpubox.remote.transfer_line import Shared
from gpubox.remote.transfer_tasks import SMALL
from gpubox.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpubox.backup.listing import Listed, Plan
    from gpubox.converge.progress import Board, Step
    from gpubox.history.about import About
    from gpubox.ledger import BoxRecord

_SAY_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Backup:
    """A whole backup at `place`. Bytes: `size` of all files, `fetched` over the line, the rest was here already.

    `sha256` is the manifest's. `notes`: sentences on what was not taken, and on older copies that have rotted.
    `web_ui`: what the web UI's database in it holds.
    """

    name: str
    place: Path
    files: int
    size: int
    fetched: int
    seconds: float
    sha256: str
    notes: tuple[str, ...]
    web_ui: About | None = None


def backup(
    name: str, *, board: Board, to: Path | None = None, search: bool = True, early: Shared | None = None
) -> Backup:
    """Back the box `name` up into `<to>/<name>/<UTC time>` (`./gpubox-backups` by default), and note it in the ledger.

    It may be interrupted or cut off at any point: what came is kept, and the next call goes on from there. `search`:
    also take what nobody declared. `early`: a login to the box that is under way since its name was known.

    Raises `TransferFailed` when a file cannot come whole or there is no room at home, `Refused` when another process
    is at it, and what `Session` raises.
    """
    with Ledger() as ledger:

        def fetch(record: BoxRecord) -> Backup:
            return carry_out(ledger, record, board=board, to=to, search=search, early=early)

        return reach(ledger.get(name), fetch, board.note)


def carry_out(
    ledger: Ledger,
    record: BoxRecord,
    *,
    board: Board,
    to: Path | None = None,
    search: bool = True,
    seconds: float = listing.SEARCH_SECONDS,
    connections: int = CONNECTIONS,
    on_plan: Callable[[Plan], None] | None = None,
    early: Shared | None = None,
    only: Callable[[Listed], bool] | None = None,
) -> Backup:
    """`backup` for a caller that has the ledger open; `on_plan` sees what will be taken before anything is, and may
    raise to stop it. `early` is closed.

    `only`: a part of it, in the same form. It is no backup of the box, and the ledger does not hear of it.
    """
    begun = time.monotonic()
    place = ((to or backups.DEFAULT) / record.name).absolute()
    login, root = Login.of(record), listing.root_of(record)
    with board.step("back up") as step, _at_home(record.name, place):
        with (
            workplace(place, board),
            _login(login, early) as shared,
            Control(login, root, shared) as control,
        ):
            work = _Work(login.name, place)
            counter = _Counter(step)

            def connect() -> Fetch:
                return Fetch(login, root, counter.add, shared=shared, connections=connections)

            with connect() as fetch:
                # While the connections are being made.
                reuse = Reuse(work.files, *_last(ledger, record.name, place))
                # Where nothing can be reused nothing has to be looked up before it comes.
                unasked = reuse.nothing() and only is None and on_plan is None
                ways = listing.Ways(SMALL if unasked else None, max(1, connections - 1))
                intent = _part(listing.ask(control, record.name, search=search, seconds=seconds, ways=ways), only)
                if on_plan is not None:
                    on_plan(intent)
                counter.total = intent.size
                gather = Gather(intent, control, fetch, reuse, work.files, work.parts, work.token)
                again = functools.partial(listing.ask, control, record.name, search=False, seconds=seconds)
                _carry(gather, connect, lambda: _part(again(), only))
                saved, sha256, manifest, counted = work.commit(gather)
                if gather.copied:
                    with contextlib.suppress(GpuboxError):
                        control.call({"do": "end", "token": work.token})
        notes = (*manifest.notes, *(f"{path} had rotted and was fetched again" for path in reuse.rotten))
        files, size = len(manifest.files), manifest.size
        if only is None:
            notes += _wheels(saved)
            ledger.note_backup(record.name, saved, files=files, size=size, sha256=sha256)
        took = time.monotonic() - begun
        done = Backup(record.name, saved, files, size, counter.fetched, took, sha256, notes, counted.about)
        step.say(_words(done))
    return done


def _carry(gather: Gather, connect: Callable[[], Fetch], listed_again: Callable[[], Plan]) -> None:
    """Have everything come, whatever changes meanwhile."""
    gather.first_round()
    if gather.copied:
        # open-webui writes an upload and then its row: what the copied database speaks of is there by now.
        gather.late_round(listed_again(), connect)
    gather.further_rounds(connect)


def _part(intent: Plan, only: Callable[[Listed], bool] | None) -> Plan:
    if only is None:
        return intent
    return replace(intent, files=tuple(filter(only, intent.files)), missing=(), incomplete=())


def _wheels(saved: Path) -> tuple[str, ...]:
    """Keep wheels that were built on the box for the next one; what there is to say about that."""
    try:
        kept = wheelhouse.store(saved)
    except OSError as error:
        # The backup itself is whole, and has them.
        return (f"wheels in it could not be put into `{wheelhouse.house()}` for the next box: {error.strerror}",)
    return tuple(f"{wheel.package} {wheel.version}, built there, is kept for the next box" for wheel in kept)


class _Work:
    """The directory of a backup that is under way."""

    def __init__(self, name: str, place: Path) -> None:
        self.place = place
        self.partial = place / backups.PARTIAL
        self.files = self.partial / backups.FILES
        self.parts = self.partial / backups.PARTS
        self._name = name
        self.files.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.parts.mkdir(exist_ok=True, mode=0o700)
        token = self.partial / "token"
        if not token.exists():
            token.write_text(secrets.token_hex(8))
        # What the box has copied for a try that was cut off is found again by it.
        self.token = token.read_text()

    def commit(self, gather: Gather) -> tuple[Path, str, backups.Manifest, web_ui.Counted]:
        """Give the backup its name, now that every file is here: place, SHA-256, manifest, chats."""
        made = datetime.now(UTC)
        shutil.rmtree(self.parts)
        intent = gather.plan
        saved = gather.saved()
        counted = web_ui.count(self.partial, self.files)
        manifest = backups.Manifest(
            name=self._name,
            made_at=made.isoformat(timespec="seconds"),
            root=intent.root,
            data_dir=intent.data_dir,
            home=intent.home,
            files=saved,
            missing=intent.missing,
            notes=(*gather.notes, *counted.notes),
            beside=counted.beside,
        )
        backups.flush(self.files)
        (self.partial / "token").unlink()
        sha256 = backups.write(self.partial, manifest)
        target = backups.fresh_name(self.place, made)
        self.partial.rename(target)
        backups.flush(self.place)
        return target, sha256, manifest, counted


class _Counter:
    """Bytes that came, shown beside the step."""

    def __init__(self, step: Step) -> None:
        self.fetched = 0
        self.total = 0
        self._step = step
        self._begun = self._said = time.monotonic()

    def add(self, size: int) -> None:
        self.fetched += size
        now = time.monotonic()
        if now - self._said > _SAY_EVERY:
            self._said = now
            rate = self.fetched / (now - self._begun)
            self._step.say(f"{_mib(self.fetched)} of at most {_mib(self.total)} MiB, {_mib(rate)} MiB/s")


def _last(ledger: Ledger, name: str, place: Path) -> tuple[Path | None, backups.Manifest | None]:
    """The last whole backup that is still there: the one in the same directory, else the one that the ledger knows."""
    known = ledger.last_backup(name, any_box=True)
    for old in (backups.newest(place.parent, name), known.place if known else None):
        if old is not None and old.is_dir():
            with contextlib.suppress(GpuboxError):
                return old, backups.read(old)
    return None, None


def _login(login: Login, early: Shared | None) -> Shared:
    if early is not None and early.fits(login):
        return early
    return Shared.of(login)


@contextlib.contextmanager
def _at_home(name: str, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(name, place / "_", error) from error


def _words(done: Backup) -> str:
    kept = f", {_mib(done.size - done.fetched)} MiB of it was here" if done.size > done.fetched else ""
    chats = f"; web UI: {done.web_ui.words()}" if done.web_ui else ""
    return f"{counted(done.files, 'file')}, {_mib(done.size)} MiB{kept}, every SHA-256 verified, in {done.place}{chats}"


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f}"
