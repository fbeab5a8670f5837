"""What exists only on this box: declared by roles, services, jobs and the box file, and found besides."""

from __future__ import annotations

import glob
import os
import stat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from boxctl import databases, files
from boxctl.hashes import Hashes, identity, of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boxctl.layout import Layout
    from boxctl.worktrees import WorkTree

# Variables of a run may hold keys and passwords; they come from the box file anyway.
_SECRET = {"vars.json"}
SEARCH_SECONDS = 20.0
LOGS, RUNS, RESULTS = "logs", "converge runs", "results"


class Entry(NamedTuple):
    """One file. `path` is relative to the root; of a file elsewhere it is `elsewhere` and its absolute path.

    `copy`: what `boxctl send` has to make of it before it can be read: a database's copy, a git bundle, or nothing.
    `version` changes when the file does; `sha256` is known as long as it has not; `node` is the same for two names
    of one file. Sizes are in bytes.
    """

    path: str
    absolute: str
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    kind: Literal["declared", "found"]
    reason: str
    copy: Literal["sqlite", "git"] | None
    version: list[int]
    node: str
    sha256: str | None = None


def listed(layout: Layout, *, search: bool = True, seconds: float = SEARCH_SECONDS) -> dict[str, Any]:
    """`{"files": [...], "missing": [...], "incomplete": [...], ...}`: sizes, and the hashes that are remembered.

    `search`: also look for what nobody declared, for at most `seconds`. `missing` are declared patterns without a
    file, `incomplete` sentences on what was not looked at.
    """
    hashes = Hashes(layout.root / "hashes.jsonl")
    entries, missing = _declared(layout, hashes)
    incomplete: list[str] = []
    if search:
        from boxctl import found

        nodes = {(int(device), int(inode)) for device, _, inode in (e.node.partition(":") for e in entries.values())}
        findings = found.search(layout, seconds=seconds, known=nodes)
        incomplete = findings.incomplete
        for path, reason in findings.files.items():
            _add(entries, layout, hashes, path, "found", reason)
        for tree in findings.trees:
            _add_bundle(entries, layout, hashes, tree)
    beside = databases.sides_of(entry.absolute for entry in entries.values() if entry.copy == "sqlite")
    chosen = [entry._asdict() for _, entry in sorted(entries.items()) if entry.absolute not in beside]
    return {
        "files": chosen,
        "missing": sorted(missing),
        "incomplete": incomplete,
        "root": str(layout.root),
        "data_dir": str(layout.root.parent),
        "home": os.path.expanduser("~"),  # noqa: PTH111
    }


def manifest(layout: Layout, *, search: bool = True, seconds: float = SEARCH_SECONDS) -> dict[str, Any]:
    """`listed` with the SHA-256 of every file that can be read as it is.

    A file that still grows is described as long as it was when it was opened. Databases and git bundles have a hash
    only once `boxctl send` has made the copy.
    """
    answer = listed(layout, search=search, seconds=seconds)
    hashes = Hashes(layout.root / "hashes.jsonl")
    described = []
    for entry in answer["files"]:
        if entry["sha256"] is None and entry["copy"] is None:
            try:
                sha256, size, info = of_file(entry["absolute"])
            except FileNotFoundError:
                continue
            if size == info.st_size:
                hashes.put(entry["absolute"], identity(info), sha256)
            entry |= {"sha256": sha256, "size": size, "mtime_ns": info.st_mtime_ns}
        described.append(entry)
    hashes.save()
    return {**answer, "files": described}


def _declared(layout: Layout, hashes: Hashes) -> tuple[dict[str, Entry], list[str]]:
    entries: dict[str, Entry] = {}
    missing = []
    for pattern, reason in _precious(layout).items():
        places = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns
        if not places:
            missing.append(pattern)
        for place in places:
            for path, info in _regular(place.rstrip("/"), set()):
                _add(entries, layout, hashes, path, "declared", reason, info)
    return entries, missing


def _precious(layout: Layout) -> dict[str, str]:
    """Patterns to the reason why they are precious."""
    patterns = {str(layout.logs): LOGS, str(layout.converge): RUNS, str(layout.results): RESULTS}
    kept = files.read_json(layout.root / "keep.json") or {}
    for pattern in kept.get("globs", []):
        patterns.setdefault(str(layout.root / pattern), f"keep: {pattern}")
    for spec in (*layout.services.glob("*/service.json"), *layout.jobs.glob("*/job.json")):
        for pattern in (files.read_json(spec) or {}).get("precious", []):
            patterns.setdefault(str(layout.root / pattern), f"{spec.stem} {spec.parent.name}")
    return patterns


def _regular(place: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files at or below `place`; links are followed, each directory once, sockets and the like left out."""
    try:
        info = os.stat(place)  # noqa: PTH116
        if stat.S_ISREG(info.st_mode):
            if place.rpartition("/")[2] not in _SECRET:
                yield place, info
            return
        if not stat.S_ISDIR(info.st_mode) or (info.st_dev, info.st_ino) in seen:
            return
        seen.add((info.st_dev, info.st_ino))
        children = sorted(os.listdir(place))  # noqa: PTH208
    except OSError:
        return  # gone meanwhile, or a link to nothing
    for child in children:
        yield from _regular(f"{place}/{child}", seen)


def _add(
    entries: dict[str, Entry],
    layout: Layout,
    hashes: Hashes,
    absolute: str,
    kind: Literal["declared", "found"],
    reason: str,
    info: os.stat_result | None = None,
) -> None:
    path = _name(layout, absolute)
    if path in entries:
        return
    try:
        info = info or os.stat(absolute)  # noqa: PTH116
        database = databases.is_database(absolute, info.st_size)
        version = list(databases.version(absolute) if database else identity(info))
    except OSError:
        return  # gone meanwhile
    entries[path] = Entry(
        path=path,
        absolute=absolute,
        size=info.st_size,
        mtime_ns=max(info.st_mtime_ns, version[1]),
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        kind=kind,
        reason=reason,
        copy="sqlite" if database else None,
        version=version,
        node=f"{info.st_dev}:{info.st_ino}",
        sha256=hashes.get(absolute, (version[0], version[1], version[2], version[3])),
    )


def _add_bundle(entries: dict[str, Entry], layout: Layout, hashes: Hashes, tree: WorkTree) -> None:
    """The commits that no remote has, as one file beside the work tree's own."""
    from boxctl.worktrees import BUNDLE

    absolute = os.path.join(tree.place, BUNDLE)  # noqa: PTH118
    info = os.stat(tree.place)  # noqa: PTH116
    version = [int(tree.refs[start : start + 12], 16) for start in (0, 12, 24, 36)]
    count = "1 commit" if tree.commits == 1 else f"{tree.commits} commits"
    entries[_name(layout, absolute)] = Entry(
        path=_name(layout, absolute),
        absolute=absolute,
        size=tree.size,
        mtime_ns=info.st_mtime_ns,
        mode=0o600,
        uid=info.st_uid,
        gid=info.st_gid,
        kind="found",
        reason=f"git: {count} that no remote has",
        copy="git",
        version=version,
        node=f"0:{version[0]}",
        sha256=hashes.get(absolute, (version[0], version[1], version[2], version[3])),
    )


def _name(layout: Layout, absolute: str) -> str:
    root = f"{layout.root}/"
    return absolute.removeprefix(root) if absolute.startswith(root) else f"elsewhere{absolute}"
