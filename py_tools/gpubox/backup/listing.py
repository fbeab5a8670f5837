"""What a backup would take: declared on the box and found besides, with sizes, changing nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpubox.backup.control import Control
from gpubox.backups import refuse_escape
from gpubox.errors import UsageError
from gpubox.ledger import Ledger
from gpubox.reach import reach
from gpubox.remote.login import Login

if TYPE_CHECKING:
    from gpubox.ledger import BoxRecord

# How long the box may look for what nobody declared, in seconds.
SEARCH_SECONDS = 20.0


class Listed(NamedTuple):
    """A file that exists only on the box. `path` is where it goes, relative; `absolute` where it is there.

    `kind` is "declared" or "found", `reason` says by whom or why. `copy`: "sqlite" for a database, of which SQLite
    makes the copy, "git" for commits, of which git does. `sha256` is known when the box has hashed this `version`
    before; `node` is the same for two names of one file. `size` in bytes.
    """

    path: str
    absolute: str
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    kind: str
    reason: str
    copy: str | None
    version: tuple[int, ...]
    node: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backup of the box `name` takes. `missing`: declared patterns without a file (they may come yet).

    `incomplete`: sentences on what was not looked at; whoever destroys a box has to show them.
    """

    name: str
    root: str
    data_dir: str
    home: str
    files: tuple[Listed, ...]
    missing: tuple[str, ...]
    incomplete: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        head = {"name": self.name, "root": self.root, "data_dir": self.data_dir, "home": self.home, "size": self.size}
        texts = {"missing": self.missing, "incomplete": self.incomplete}
        return {**head, **texts, "files": [file._asdict() for file in self.files]}

    def groups(self) -> list[tuple[str, str, int, int]]:
        """For a person: (kind, reason, number of files, bytes), what was declared first, the largest first."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for file in self.files:
            count, size = sums.get((file.kind, file.reason), (0, 0))
            sums[file.kind, file.reason] = (count + 1, size + file.size)
        rows = [(kind, reason, count, size) for (kind, reason), (count, size) in sums.items()]
        return sorted(rows, key=lambda row: (row[0] != "declared", -row[3], row[1]))


def plan(name: str, *, search: bool = True, seconds: float = SEARCH_SECONDS) -> Plan:
    """Ask the box what exists only there; changes nothing and hashes nothing.

    `search`: also look for what nobody declared, for at most `seconds`. Raises what `Session` raises, and `UsageError`
    for a box that was never set up.
    """
    with Ledger() as ledger:
        record = ledger.get(name)

    def list_files(record: BoxRecord) -> Plan:
        with Control(Login.of(record), root_of(record)) as control:
            return ask(control, name, search=search, seconds=seconds)

    return reach(record, list_files)


class Ways(NamedTuple):
    """`channels`: how many further ones the box shall answer. `small`: listed files of up to so many bytes come
    unasked (None: none does)."""

    small: int | None
    channels: int


def ask(control: Control, name: str, *, search: bool, seconds: float, ways: Ways | None = None) -> Plan:
    """The same over a connection that is there, and used for the first time when `ways` are given."""
    request = {"do": "list", "search": search, "seconds": seconds}
    if ways is None:
        return from_answer(name, control.call(request))
    return from_answer(name, control.list(request, small=ways.small, channels=ways.channels))


def from_answer(name: str, answer: dict[str, Any]) -> Plan:
    """Read what `boxctl` lists: a row of `Listed` for each file. Raises `Failed` when a name leaves its directory."""
    files = []
    for row in answer["files"]:
        file = Listed(*row)
        refuse_escape(name, file.path)
        files.append(file._replace(version=tuple(file.version)))
    texts = (tuple(answer["missing"]), tuple(answer["incomplete"]))
    return Plan(name, answer["root"], answer["data_dir"], answer["home"], tuple(files), *texts)


def root_of(record: BoxRecord) -> str:
    """Where gpubox's things lie on a box. Raises `UsageError` for one that was never set up."""
    if record.root is None:
        raise UsageError(
            f"nothing was ever set up on `{record.name}`, so there is nothing to take along or to put back",
            where=record.name,
            hint=f"gpubox up {record.name}",
        )
    return record.root
