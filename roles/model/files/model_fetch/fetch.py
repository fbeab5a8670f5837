"""The job: a model from a hub to its directory, whole or not at all, whatever happened before."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_fetch import copied, disk, files, manifest, plan, probe, routes
from model_fetch.download import Download
from model_fetch.errors import Asked, Changed
from model_fetch.lock import lock
from model_fetch.progress import Progress
from model_fetch.spec import COPIED
from model_fetch.words import count, size

if TYPE_CHECKING:
    from model_fetch.listing import RemoteFile
    from model_fetch.plan import Plan
    from model_fetch.routes import Route
    from model_fetch.spec import Spec

# Below that, finding the fastest way takes longer than the download.
_WORTH_MEASURING = 64 * 10**6


def fetch(spec: Spec) -> None:
    """Bring the model of `spec` to its directory. Raises `Trouble`, `OSError`; SystemExit when it is told to end."""
    if not spec.directory:
        raise Asked("a model that is fetched needs a `directory`")
    signal.signal(signal.SIGTERM, _end)
    progress = Progress()
    directory = Path(spec.directory)
    if spec.source == COPIED:
        copied.wait(spec, progress)
        return

    def waiting(owner: str) -> None:
        words = f"another download of {spec.name} is running (process {owner or 'unknown'}); waiting for it"
        progress.say(words)
        progress.tell(words)

    with lock(directory.parent / f".{directory.name}.lock", waiting):
        _Fetch(spec, directory, progress).run()


def _end(*_: object) -> None:
    sys.exit(143)


class _Fetch:
    def __init__(self, spec: Spec, directory: Path, progress: Progress) -> None:
        self._spec, self._directory, self._progress = spec, directory, progress
        self._parts = directory / manifest.PARTS
        self._received = self._new = self._most = 0

    def run(self) -> None:
        there = manifest.ready(self._spec)
        if there is not None and not self._spec.refresh:
            self._say_there(there)
            return
        began = time.time()
        try:
            wanted = self._bring()
        except Changed as error:
            self._progress.say(f"{error}: asking for the list again")
            (self._parts / "plan.json").unlink(missing_ok=True)
            wanted = self._bring()
        if wanted is not None:
            self._finish(wanted, began)

    def _bring(self) -> Plan | None:
        """All files, verified; None when they were there and of the newest revision."""
        wanted, ways = self._plan()
        there = manifest.ready(self._spec)
        if there is not None and wanted.pinned and there.revision == wanted.revision:
            self._say_there(there)
            return None
        self._parts.mkdir(parents=True, exist_ok=True)
        known = self._verified(wanted)
        todo = [file for file in wanted.files if file.path not in known]
        missing = manifest.there(self._directory, wanted).missing
        disk.check(missing, self._directory, disk.free(self._directory), self._spec.settings.min_free_bytes)
        files.write_json(self._parts / "plan.json", wanted.as_json())
        revision = f" at {wanted.revision}" if wanted.revision else ""
        self._progress.say(
            f"{wanted.id}{revision}: {count(len(wanted.files), 'file')}, {size(wanted.bytes)}; "
            f"{size(missing)} to fetch, {size(disk.free(self._directory))} are free"
        )
        if todo:
            self._download(wanted, todo, self._fastest(wanted, todo, ways, missing), known)
        return replace(wanted, files=tuple(replace(file, sha256=known[file.path]) for file in wanted.files))

    def _plan(self) -> tuple[Plan, list[Route]]:
        """What an earlier run began, with its commit, or what the hub says now."""
        ways = routes.routes(self._spec.source, self._spec.settings)
        kept = manifest.kept(self._directory)
        if kept is not None and kept.key == self._spec.key and not self._spec.refresh:
            return kept, ways
        self._progress.tell(f"asking for the files of {self._spec.name}")
        wanted, way, ways = plan.make(self._spec)
        return wanted, [way, *(other for other in ways if other is not way)]

    def _verified(self, wanted: Plan) -> dict[str, str]:
        """Files that are there and whose checksum was compared, with their SHA-256."""
        records: dict[str, dict[str, Any]] = {}
        if (old := manifest.read(self._directory)) is not None:
            records |= {file.path: file.as_json() for file in old.files}
        path = self._parts / "verified.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            records[record["path"]] = record
        return {
            file.path: str(records[file.path]["sha256"])
            for file in wanted.files
            if file.path in records and self._is(file, records[file.path])
        }

    def _is(self, file: RemoteFile, record: dict[str, Any]) -> bool:
        same = record["sha256"] == file.sha256 if file.sha256 else record.get("git", "") == file.git
        path = self._directory / file.path
        return same and record["size"] == file.size and path.is_file() and path.stat().st_size == file.size

    def _fastest(self, wanted: Plan, todo: list[RemoteFile], ways: list[Route], missing: int) -> list[Route]:
        if missing < _WORTH_MEASURING or len(ways) < 2:
            return ways
        biggest = max(todo, key=lambda file: file.size)
        ordered, said = probe.fastest(ways, wanted.id, wanted.revision, biggest)
        for line in said:
            self._progress.say(line)
        return ordered

    def _download(self, wanted: Plan, todo: list[RemoteFile], ways: list[Route], known: dict[str, str]) -> None:
        with (self._parts / "verified.jsonl").open("a", encoding="utf-8") as record:

            def verified(file: RemoteFile, sha256: str) -> None:
                known[file.path] = sha256
                record.write(json.dumps({**file.as_json(), "sha256": sha256}) + "\n")
                record.flush()

            download = Download(self._spec, wanted, todo, ways, self._progress, verified)
            try:
                download.run()
            finally:
                self._received += download.received
                self._new += download.new
                self._most = max(self._most, download.most)

    def _finish(self, wanted: Plan, began: float) -> None:
        old = manifest.read(self._directory)
        seconds = round(time.time() - began, 1)
        about = {
            **wanted.as_json(), "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seconds": seconds,
            "received_bytes": self._received, "twice_bytes": max(0, self._received - self._new),
            "connections": self._most,
        }  # fmt: skip
        files.write_json(self._directory / manifest.NAME, about)
        # What only the model before this one had would be read by engines that take whatever lies there.
        for file in old.files if old else ():
            if file.path not in {new.path for new in wanted.files}:
                (self._directory / file.path).unlink(missing_ok=True)
        shutil.rmtree(self._parts)
        twice = f", {size(self._received - self._new)} of it twice" if self._received > self._new else ""
        whole = f"{count(len(wanted.files), 'file')}, {size(wanted.bytes)}"
        self._progress.say(
            f"{wanted.name} is there: {whole}, every checksum is right; "
            f"{size(self._received)} received{twice}, in {seconds:.0f} s by at most {count(self._most, 'connection')}"
        )
        self._progress.tell(f"{wanted.name} is there", wanted.bytes, wanted.bytes, received=self._received)

    def _say_there(self, there: Plan) -> None:
        self._progress.say(f"{there.name} is there: {count(len(there.files), 'file')}, {size(there.bytes)}")
        self._progress.tell(f"{there.name} is there", there.bytes, there.bytes)
