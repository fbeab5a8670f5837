"""`gpubox restore NAME --from-box DIR`: a snapshot on a disk of the box comes home first, and is restored from there.

So it passes the same checks as every backup: each byte against its hash, the version of the web UI, what is newer.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

from gpubox import backups, snapshots, web_ui_line
from gpubox.errors import Failed
from gpubox.reach import reach
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord

_TIME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")


def from_box(name: str, place: str, *, board: Board) -> Path:
    """Bring home the newest snapshot below the directory `place` of the box; where it is now, every byte proven.

    Raises `RemoteCommandFailed` when there is none, `Failed` when it is not what it was, and what the link raises.
    """
    below = snapshots.below() / name
    below.mkdir(parents=True, exist_ok=True, mode=0o700)

    def fetch(record: BoxRecord) -> Path:
        with _Coming(below) as coming, Host(Login.of(record)) as host:
            web_ui_line.on_box(host, record.root or "", ["hand", place], coming.take)
            return coming.finish()

    with board.step("fetch the snapshot") as step:
        found = reach(converged(name), fetch, board.note)
        step.say(str(found))
    return found


class _Coming:
    """A snapshot on its way, in a directory with a hidden name."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self._partial = below / f".from-box-{os.getpid()}"
        self._name = ""
        self._file: BinaryIO | None = None
        self._ended = False

    def __enter__(self) -> _Coming:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def take(self, record: dict[str, Any]) -> None:
        match record["type"]:
            case "snapshot":
                self._name = str(record["name"])
            case "file":
                self._begin(str(record["path"]))
            case "bytes" if self._file is not None:
                self._file.write(base64.b64decode(record["data"]))
            case "end":
                self._ended = True

    def finish(self) -> Path:
        self._close()
        if not self._ended or not _TIME.fullmatch(self._name):
            raise Failed("what the box has there is no whole snapshot", where=self._name or None)
        backups.checked(self._partial)
        target = self._below / self._name
        if target.is_dir():
            # Fetched before.
            backups.checked(target)
        else:
            self._partial.rename(target)
        return target

    def _begin(self, path: str) -> None:
        self._close()
        backups.refuse_escape(self._name, path)
        target = self._partial / path
        for directory in reversed(target.relative_to(self._partial).parents[:-1]):
            (self._partial / directory).mkdir(exist_ok=True, mode=0o700)
        self._file = open(target, "xb", opener=_private)  # noqa: SIM115 - closed when the next begins

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o400)
