"""Which bytes of a plan come over the line, in which order; afterwards every file is here, or it is said why not."""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.backup.reuse import link_or_copy, remove_strays
from gpubox.backups import Saved
from gpubox.errors import RemoteCommandFailed, TransferFailed
from gpubox.remote.transfer_item import ROTTEN, Item
from gpubox.remote.transfer_tasks import SMALL
from gpubox.words import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from gpubox.backup.control import Control
    from gpubox.backup.listing import Listed, Plan
    from gpubox.backup.reuse import Reuse
    from gpubox.remote.transfer_fetch import Fetch

# Bytes that stay free at home.
_SPARE = 64 << 20
_READERS = 2
_ROUNDS = 3


class Gather:
    """One backup's worth of files. `saved()`, `notes` and `plan` are what the manifest is made of.

    `copied`: whether the box has made copies that it may now remove.
    """

    def __init__(
        self, plan: Plan, control: Control, fetch: Fetch, reuse: Reuse, files: Path, parts: Path, token: str
    ) -> None:
        self.plan = plan
        self.notes: list[str] = list(plan.incomplete)
        self._control = control
        self._fetch = fetch
        self._reuse = reuse
        self._files = files
        self._parts = parts
        self._token = token
        self._items: dict[str, Item] = {}
        self._twins: list[tuple[Listed, Listed]] = []
        self._held: list[Item] | None = None
        self._hashing: list[Item] = []
        self._looks: list[Future[None]] = []
        self.copied = False

    def saved(self) -> tuple[Saved, ...]:
        """Every file that is here, as it came; what is here of others is removed."""
        for item in self._items.values():
            if item.state == "gone":
                # Of an earlier try.
                Path(item.target).unlink(missing_ok=True)
        return tuple(self._saved(file) for file in self.plan.files if self._items[file.path].state == "home")

    def first_round(self) -> None:
        """Have everything come that is not here; raises `TransferFailed` when there is no room for it."""
        now, doubtful, copied = self._sorted()
        remove_strays(self._files, [file.path for file in self.plan.files])
        self._remove_stale_parts()
        expected = sum(file.size for file in (*now, *doubtful, *copied))
        if expected + _SPARE > self._room():
            self._held = []
        self._want_now(now)
        readers = ThreadPoolExecutor(_READERS)
        try:
            self._look_for(doubtful, readers)
            for file in copied:
                self._copy(file)
            readers.shutdown(wait=True)
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
        for look in self._looks:
            look.result()
        self._release_held()
        self._hash_big()
        self._fetch.ask_for_lost()
        self._control.finish(self._fetch)

    def late_round(self, listed: Plan, connect: Callable[[], Fetch]) -> None:
        """Have those of the `listed` files come, too, that the plan does not have yet."""
        known = {file.path for file in self.plan.files}
        late = [file for file in listed.files if file.path not in known and file.copy is None]
        if not late:
            return
        self.plan = replace(self.plan, files=(*self.plan.files, *late))
        self._hashing = []
        with connect() as self._fetch:
            self._want([self._item(file) for file in late])
            self._hash_big()
            self._control.finish(self._fetch)

    def further_rounds(self, connect: Callable[[], Fetch]) -> None:
        """Fetch again what has changed while it was read. Raises `TransferFailed` naming what does not come whole."""
        for _ in range(_ROUNDS):
            changed = [item for item in self._items.values() if item.state == "changed"]
            if not changed:
                break
            again = self._looked_at_again(changed)
            with connect() as self._fetch:
                self._fetch.add(again)
                for item in again:
                    if item.size > SMALL:
                        self._fetch.known(item, item.sha256 or "", item.version)
                self._control.finish(self._fetch)
        for twin, first in self._twins:
            self._twin(twin, first)
        for file in self.plan.files:
            if self._items[file.path].state == "gone":
                self.notes.append(f"`{file.absolute}` was gone from the box before it could be read")
        whole = {"home", "gone"}
        bad = {path: item.reason or "it did not come" for path, item in self._items.items() if item.state not in whole}
        if bad:
            raise _failure(self.plan.name, bad)

    def _look_for(self, doubtful: list[Listed], readers: ThreadPoolExecutor) -> None:
        """Look for files here as soon as the box's hash of each is known."""
        self._looks = [readers.submit(self._look_here, file, file.sha256) for file in doubtful if file.sha256]
        unhashed = [file for file in doubtful if not file.sha256]

        def on_answer(number: int, answer: dict[str, Any]) -> None:
            if "error" in answer:
                self._item(unhashed[number]).settle("gone" if answer["gone"] else "failed", answer["error"])
            else:
                self._looks.append(readers.submit(self._look_here, unhashed[number], answer["sha256"]))

        self._control.hashes([(file.absolute, file.size) for file in unhashed], on_answer)

    def _sorted(self) -> tuple[list[Listed], list[Listed], list[Listed]]:
        """What is fetched at once, what may be here already, and what the box has to copy first."""
        now, doubtful, copied = [], [], []
        nodes: dict[str, Listed] = {}
        for file in self.plan.files:
            if file.copy is None and (first := nodes.setdefault(file.node, file)) is not file:
                self._twins.append((file, first))
            elif file.copy is not None:
                copied.append(file)
            elif self._reuse.may_have(file.path, file.size):
                doubtful.append(file)
            else:
                now.append(file)
        return now, doubtful, copied

    def _item(self, file: Listed, **more: Any) -> Item:  # noqa: ANN401 - fields of Item
        # A copy is another one when its bytes are, a file when its size or time is.
        stamp = str(more.get("sha256")) if file.copy else f"{file.size} {file.mtime_ns}"
        size = more.get("size", file.size)
        # Small files come whole.
        part = self._parts / f"{_short(file.path)}-{_short(stamp)}" if size > SMALL else self._parts
        values = {
            "part": part,
            "source": file.absolute,
            "target": f"{self._files}/{file.path}",
            "size": size,
            "mtime_ns": file.mtime_ns,
            "sha256": file.sha256,
            "version": file.version,
            **more,
        }
        item = self._items[file.path] = Item(**values)
        return item

    def _want(self, items: Iterable[Item]) -> None:
        if self._held is not None:
            self._held += items
            return
        wanted = list(items)
        self._hashing += [item for item in wanted if item.size > SMALL and item.sha256 is None]
        self._fetch.add(wanted)

    def _want_now(self, files: list[Listed]) -> None:
        """What is not here for sure, of which the small ones may be on their way already."""
        items = [self._item(file) for file in files]
        if not self._control.streams:
            self._want(items)
            return
        # Nothing of what has to come is here: there is no room for it.
        self._held = [] if self._held is None else items
        self._release_held()
        self._want(item for item in items if item.size > SMALL)
        numbers = {file.path: number for number, file in enumerate(self.plan.files)}
        coming = {numbers[file.path]: item for file, item in zip(files, items, strict=True) if item.size <= SMALL}
        self._control.stream(self._fetch, coming)

    def _look_here(self, file: Listed, sha256: str) -> None:
        """Take a file from here if it is, else have it come."""
        item = self._item(file)
        if self._reuse.take(file.path, file.size, sha256):
            item.sha256 = sha256
            item.settle("home")
            return
        item.sha256 = sha256
        self._want([item])

    def _copy(self, file: Listed) -> None:
        """Have the box copy a database or bundle commits, unless the copy of this version is here."""
        if file.sha256 and (size := self._reuse.size_of(file.sha256)) is not None:
            item = self._item(file, size=size)
            if self._reuse.take(file.path, size, file.sha256):
                item.settle("home")
                return
        self.copied = True
        request = {"do": "copy", "file": file.absolute, "copy": file.copy, "version": file.version}
        try:
            made = self._control.call({**request, "token": self._token})
        except RemoteCommandFailed as error:
            self._item(file).settle("failed", error.message)
            return
        if self._reuse.take(file.path, made["size"], made["sha256"]):
            self._item(file, size=made["size"], sha256=made["sha256"]).settle("home")
            return
        self._want([self._item(file, source=made["source"], size=made["size"], sha256=made["sha256"], version=())])

    def _room(self) -> int:
        """Bytes that are free at home, with what parts of files take up already."""
        there = sum(part.stat().st_blocks * 512 for part in self._parts.iterdir())
        return shutil.disk_usage(self._files).free + there

    def _release_held(self) -> None:
        """Now that it is known what is here: is there room for the rest?"""
        if self._held is None:
            return
        held, self._held = self._held, None
        need, free = sum(item.size for item in held), self._room()
        if held and need + _SPARE > free:
            raise TransferFailed(
                f"`{self._files.parent.parent}` has {_gib(free)} GiB free, and {_gib(need)} GiB are to come home",
                where=self.plan.name,
                hint="make room, or choose a directory on another disk with `--to`; nothing on the box was changed",
            )
        self._want(held)

    def _hash_big(self) -> None:
        """Ask for the hashes of big files while their bytes come."""
        asked = self._hashing
        for item in self._items.values():
            if item.size > SMALL and item.sha256 is not None and item.state == "coming":
                self._fetch.known(item, item.sha256, item.version)

        def on_answer(number: int, answer: dict[str, Any]) -> None:
            item = asked[number]
            if "error" in answer:
                self._fetch.lost(item, "gone" if answer["gone"] else "failed", answer["error"])
            elif answer["size"] < item.size:
                self._fetch.lost(item, "changed", "it became shorter while it was read")
            else:
                self._fetch.known(item, answer["sha256"], tuple(answer["version"]))

        self._control.hashes([(item.source, item.size) for item in asked], on_answer)

    def _looked_at_again(self, changed: list[Item]) -> list[Item]:
        """Have the box read once more what differed: is what came right, has the file changed, or has it rotted?"""
        again: list[Item] = []

        def on_answer(number: int, answer: dict[str, Any]) -> None:
            item = changed[number]
            if "error" in answer:
                item.settle("gone" if answer["gone"] else "failed", answer["error"])
                return
            version = tuple(answer["version"])
            if item.sha256 not in {None, answer["sha256"]} and version == item.version:
                item.settle("failed", ROTTEN)
                return
            if answer["sha256"] != item.own:
                item.discard()
            item.size, item.sha256, item.version = answer["size"], answer["sha256"], version
            item.mtime_ns, item.state = version[1], "coming"
            again.append(item)

        self._control.hashes([(item.source, None) for item in changed], on_answer, fresh=True)
        return again

    def _twin(self, file: Listed, first: Listed) -> None:
        """A second name of a file that has come."""
        came = self._items[first.path]
        item = self._item(file, size=came.size, mtime_ns=came.mtime_ns, sha256=came.sha256)
        if came.state == "home":
            target = Path(item.target)
            target.unlink(missing_ok=True)
            link_or_copy(Path(came.target), target)
        item.settle(came.state, came.reason)

    def _remove_stale_parts(self) -> None:
        """Parts of files that have changed since; what is under way is named by size and time."""
        parts = list(self._parts.iterdir())
        if not parts:
            return
        wanted = {_short(file.path): f"{file.size} {file.mtime_ns}" for file in self.plan.files if not file.copy}
        copies = {_short(file.path) for file in self.plan.files if file.copy}
        for part in parts:
            path, _, stamp = part.name.partition(".")[0].partition("-")
            if path not in copies and (path not in wanted or _short(wanted[path]) != stamp):
                part.unlink()

    def _saved(self, file: Listed) -> Saved:
        item = self._items[file.path]
        return Saved(
            path=file.path,
            absolute=file.absolute,
            size=item.size,
            sha256=item.sha256 or "",
            mtime_ns=item.mtime_ns,
            mode=file.mode,
            uid=file.uid,
            gid=file.gid,
            kind=file.kind,
            reason=file.reason,
            copy=file.copy,
        )


def _failure(name: str, bad: dict[str, str]) -> TransferFailed:
    shown = shortened([f"{path}: {reason}" for path, reason in sorted(bad.items())])
    count = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    return TransferFailed(
        "\n".join([f"{count} did not come home whole:", *shown]),
        where=name,
        hint="what did come is kept; the same command fetches the rest (stop what still writes to them first)",
    )


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:20]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f}"
