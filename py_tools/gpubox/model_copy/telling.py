"""What the box hears of a copy while it lasts: how far it is, that this side still lives, and how it ended."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from gpubox.errors import LinkLost

if TYPE_CHECKING:
    from types import TracebackType

    from gpubox.errors import GpuboxError
    from gpubox.model_copy.receiver import Receiver

# The job on the box gives up after 120 s without a word (model_fetch/copied.py).
_EVERY = 3.0
_TRIES, _ANSWER = 3, 10.0


class Telling:
    """`with Telling(receiver) as told:` the box knows of the copy until the block ends. Raises `LinkLost` at its start.

    A line that is cut later is made anew; the copy itself goes on over lines of its own.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._identity = receiver, secrets.token_hex(8)
        self._words: dict[str, Any] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Telling:
        self._child = self._receiver.hold(self._identity)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._child is not None:
            # Its end, without a last word, is that of a copy that was cut off.
            self._receiver.end(self._child)

    def tell(self, label: str, done: int, total: int) -> None:
        """How far it is, in bytes; said with the next beat."""
        self._words = {"label": label, "done": done, "total": total}

    def done(self) -> None:
        """All of it is there."""
        self._last({"end": "done"})

    def failed(self, error: GpuboxError) -> None:
        """It cannot go on."""
        self._last({"end": "failed", "error": error.message + (f" ({error.hint})" if error.hint else "")})

    def _beat(self) -> None:
        while not self._over.wait(_EVERY):
            with contextlib.suppress(LinkLost):
                self._say(self._words)

    def _last(self, words: dict[str, Any]) -> None:
        """Raises `LinkLost` when the box could not be told."""
        self._over.set()
        self._thread.join()
        # What was written to a line that is cut is lost; the program there ends when it has heard the last word.
        for _ in range(_TRIES):
            if self._say(words) and self._child is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if self._child.wait(_ANSWER) == 0:
                        return

    def _say(self, words: dict[str, Any]) -> bool:
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._child = self._receiver.hold(self._identity)
            assert self._child.stdin is not None
            try:
                self._child.stdin.write(json.dumps(words).encode() + b"\n")
                self._child.stdin.flush()
            except OSError:
                child, self._child = self._child, None
                self._receiver.end(child)
                return False
            return True
