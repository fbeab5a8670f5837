"""A model that comes from a directory of this machine, or from another box, beside the converge that serves it.

What is there already, by name, size, time and a SHA-256 that was compared once, is not sent again; what a cut line
left is gone on with. `beside` runs the copy as a process of its own, and tells the box how far it is: there the job
`model-<name>` waits for it, as it would fetch from a hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.boxfile.models import ModelSource
from gpubox.converge.variables import models
from gpubox.errors import TransferFailed, UsageError
from gpubox.ledger import Ledger
from gpubox.model_copy import link, sources
from gpubox.model_copy.receiver import Receiver
from gpubox.remote.login import Login
from gpubox.remote.transfer_push import Outgoing, Push

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubox.boxfile import BoxFile
    from gpubox.model_copy.sources import Source
    from gpubox.remote.host import Host

    # Gets what is being done, and how many bytes of how many are.
    Tell = Callable[[str, int, int], None]

__all__ = ["Copied", "bring", "copied", "forecast", "gib", "missing"]

_NAMED = 5
# As `on_box` leaves free.
_SPARE = 64 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """What was done: files and bytes that went, of how many; `way`: "up", "directly", "through this machine"."""

    sent: int
    sent_bytes: int
    files: int
    bytes: int
    way: str


def copied(box: BoxFile) -> ModelSource | None:
    """The model of `box` when it is one that is copied."""
    model = box.model
    return model if isinstance(model, ModelSource) and model.source in ("folder", "box") else None


def forecast(name: str, model: ModelSource) -> tuple[int, int]:
    """How many files would be copied to the box `name`, and their bytes; only lists are read. Errors as `bring`."""
    files = _listed(name, model)
    return len(files), sum(file.size for file in files)


def missing(host: Host, box: BoxFile, model: ModelSource, *, root: str) -> tuple[int, int, int]:
    """Of the model's files those that the box behind `host` has not, by what was noted of an earlier copy; how many
    there are, and their bytes together. Reads no file. Errors as `bring`."""
    receiver = Receiver(host, root, models.path(box, root) or "")
    files = _listed(receiver.login.name, model)
    there = receiver.look(_rows(files))["there"]
    todo = [file for file in files if file.path not in there]
    if not todo:
        receiver.settle()
    return len(todo), len(files), sum(file.size for file in files)


def bring(host: Host, box: BoxFile, *, root: str, tell: Tell) -> Copied | None:
    """Put the model of `box` where its engine will look for it, on the box behind `host`.

    None when it comes from somewhere else.

    The controller's Python and boxctl are there already. Raises `UsageError` for a directory or a box that is not
    there, `Refused` when that box is being changed, `TransferFailed` for a full disk, and what the links raise.
    """
    model = copied(box)
    if model is None:
        return None
    receiver = Receiver(host, root, models.path(box, root) or "")
    if model.source == "folder":
        return _from_folder(receiver, root, model, tell)
    return _from_box(receiver, model, tell)


def _folder(model: ModelSource) -> Path:
    return Path(model.folder or "").expanduser().absolute()


def _listed(name: str, model: ModelSource) -> list[Source]:
    """The files that are wanted, of either source."""
    if model.source == "folder":
        return sources.chosen(sources.in_folder(_folder(model)), model.include, f"`{_folder(model)}`")
    other, directory = _other(name, model)
    with Ledger() as ledger:
        login = Login.of(ledger.get(other))
    return sources.chosen(sources.on_box(login, directory).files, model.include, f"`{directory}` of `{other}`")


def _other(name: str, model: ModelSource) -> tuple[str, str]:
    """The box that has it, and where. Raises `UsageError`."""
    other, directory = model.box or "", (model.path or "").rstrip("/")
    if other == name:
        hint = "`source: path` uses what lies there already"
        raise UsageError(f"`{other}` cannot copy from itself", where="model.box", hint=hint)
    return other, directory


def _from_folder(receiver: Receiver, root: str, model: ModelSource, tell: Tell) -> Copied:
    folder, files = _folder(model), _listed(receiver.login.name, model)
    work = _Work(receiver, files, tell, lambda todo, done: sources.hashes_in_folder(folder, todo, done))
    if not work.missing:
        return work.done("up")
    outgoing = [_outgoing(folder, receiver.directory, file) for file in work.missing]
    with Push(receiver.login, root, work.count) as push:
        push.send(outgoing)
    if push.bad:
        shown = "\n".join(f"  {path}: {reason}" for path, reason in sorted(push.bad.items())[:_NAMED])
        hint = f"what arrived is kept; `gpubox up {receiver.login.name}` sends the rest"
        raise TransferFailed(f"not all of the model arrived:\n{shown}", where=receiver.login.name, hint=hint)
    return work.done("up")


def _from_box(receiver: Receiver, model: ModelSource, tell: Tell) -> Copied:
    other, directory = _other(receiver.login.name, model)
    # Shared: nobody takes the other box down meanwhile.
    with Ledger() as ledger, ledger.lock(other, shared=True):
        login = Login.of(ledger.get(other))
        found = sources.on_box(login, directory)
        files = sources.chosen(found.files, model.include, f"`{directory}` of `{other}`")
        work = _Work(
            receiver, files, tell, lambda todo, done: sources.hashes_on_box(login, directory, found, todo, done)
        )
        if not work.missing:
            return work.done("directly")
        return work.done(link.copy(link.Ends(login, directory, receiver), work.missing, work.count))


class _Work:
    """What is to be sent; its hashes are known when this is made."""

    def __init__(
        self,
        receiver: Receiver,
        files: Sequence[Source],
        tell: Tell,
        hashes: Callable[[Sequence[Source], Callable[[int], None]], dict[str, str]],
    ) -> None:
        self._receiver = receiver
        rows = _rows(files)
        there = receiver.look(rows)["there"]
        todo = [file for file in files if file.path not in there]
        read = _Counted(tell, f"reading {receiver.name}", sum(file.size for file in todo))
        known = there | (hashes(todo, read.add) if todo else {})
        self.files = [row | {"sha256": known[row["path"]]} for row in rows]
        rest = [row for row in self.files if row["path"] not in there]
        look: dict[str, Any] = receiver.look(rest) if rest else {"there": {}, "parts": 0, "free": 0}
        self.missing = [row for row in rest if row["path"] not in look["there"]]
        self._noted = not rest
        self._size = sum(row["size"] for row in self.missing)
        self._counted = _Counted(tell, f"copying {receiver.name}", self._size)
        self._counted.add(look["parts"])
        self._came = 0
        self._check_room(look)

    def count(self, size: int) -> None:
        """So many bytes came."""
        self._came += size
        self._counted.add(size)

    def done(self, way: str) -> Copied:
        """All of it is there: noted on the box, and told."""
        if not self._noted:
            self._receiver.note(self.files)
        total = sum(row["size"] for row in self.files)
        return Copied(len(self.missing), self._came, len(self.files), total, way)

    def _check_room(self, look: dict[str, Any]) -> None:
        need = self._size - look["parts"] + _SPARE
        if self.missing and need > look["free"]:
            name = self._receiver.login.name
            raise TransferFailed(
                f"the disk of `{self._receiver.directory}` has {gib(look['free'])} free, and the model needs"
                f" {gib(need)}: {gib(need - look['free'])} are missing",
                where=name,
                hint=f"`gpubox ssh {name} -- df -h` shows the disks; make room, or set `data_dir`",
            )


class _Counted:
    def __init__(self, tell: Tell, label: str, total: int) -> None:
        self._tell, self._label, self._total, self._sum = tell, label, total, 0

    def add(self, size: int) -> None:
        self._sum += size
        if size:
            self._tell(self._label, self._sum, self._total)


def _rows(files: Sequence[Source]) -> list[dict[str, Any]]:
    return [{"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns} for file in files]


def _outgoing(folder: Path, directory: str, file: dict[str, Any]) -> Outgoing:
    there = {
        "target": f"{directory}/{file['path']}", "size": file["size"], "sha256": file["sha256"],
        "mtime_ns": file["mtime_ns"], "mode": 0o644, "uid": 0, "gid": 0, "copy": "",
    }  # fmt: skip
    return Outgoing(folder / file["path"], file["size"], there)


def gib(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
