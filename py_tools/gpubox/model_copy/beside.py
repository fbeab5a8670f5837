"""The copy as a process beside the converge that waits for it; it ends with the block, and with this process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from gpubox import errors, paths
from gpubox.errors import ConvergeFailed, GpuboxError, TransferFailed
from gpubox.model_copy import copied, gib, missing
from gpubox.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile import BoxFile
    from gpubox.converge.progress import Board
    from gpubox.remote.host import Host

# After the converge has seen all of it there: its last words. And to take a key away from the other box.
_PATIENCE = 15.0


@contextlib.contextmanager
def beside(host: Host, box: BoxFile, *, root: str, board: Board) -> Iterator[None]:
    """Copy the model of `box` to the box behind `host` for as long as the block lasts; nothing for other models.

    Raises at its beginning `UsageError` for a directory or a box that is not there and what the links raise; at its
    end, in the place of `ConvergeFailed`, what the copy has failed with.
    """
    model, name = copied(box), host.login.name
    if model is None:
        yield
        return
    with board.step("the model") as step:
        todo, files, whole = missing(host, box, model, root=root)
        step.say(
            f"{counted(files, 'file')}, {gib(whole)}; " + ("on the box already" if not todo else "copied meanwhile")
        )
        if not todo:
            step.state = "kept"
    if not todo:
        yield
        return
    with _alone(name) as alone:
        if not alone:
            board.note("another gpubox copies the model already")
            yield
            return
        with _Copy(name, box, root, board):
            yield


@contextlib.contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Whether no other gpubox of this machine copies to the box; the lock is the kernel's."""
    with (paths.box_dir(name) / "model-copy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class _Copy:
    """The process."""

    def __init__(self, name: str, box: BoxFile, root: str, board: Board) -> None:
        self._name, self._board = name, board
        self._wanted = {"name": name, "box": box.model_dump(mode="json", exclude_none=True), "root": root}
        self._answer: dict[str, Any] = {}

    def __enter__(self) -> None:
        # Into a file: nobody reads it while the copy lasts.
        self._stderr = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "gpubox.model_copy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            # A Ctrl-C in the terminal is ours; we tell it.
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(OSError):
            self._child.stdin.write(json.dumps(self._wanted) + "\n")
            self._child.stdin.flush()
        # Before the converge begins, so that its job finds a copy under way.
        first = self._child.stdout.readline()
        if first.strip() != '"held"':
            self._end(first)
            raise self._error() or TransferFailed(
                f"the copy of the model could not be started: {self._said}", where=self._name
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_PATIENCE)
        stopped = self._child.poll() is None
        self._end()
        if isinstance(error, ConvergeFailed) and (own := self._error()) is not None:
            raise own from error
        if stopped and error is not None:
            self._board.note(
                "the model is copied by this machine, which has stopped now; what arrived is kept: "
                f"`gpubox up {self._name}` goes on with it"
            )

    def _end(self, said: str = "") -> None:
        """No process stays; what it has said is read."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            # Its own children, too.
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        for line in [said, *self._child.stdout]:
            with contextlib.suppress(ValueError):
                words = json.loads(line)
                self._answer = words if isinstance(words, dict) else self._answer
        self._child.stdout.close()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self._said = lines[-1] if lines else f"exit code {self._child.returncode}"
        self._stderr.close()

    def _error(self) -> GpuboxError | None:
        """What it failed with."""
        if "error" not in self._answer:
            return None
        kind = getattr(errors, str(self._answer["error"]), TransferFailed)
        found: GpuboxError = kind(
            self._answer["message"], where=self._answer.get("where"), hint=self._answer.get("hint")
        )
        return found
