"""A child process steered over its stdin and stdout: one JSON object a line.

`{"id": 1, "do": "start", "args": {...}}` is answered by `{"id": 1, "result": ...}` or `{"id": 1, "error": "..."}`.
The child ends, and takes down what it holds, when its parent closes the pipe or dies, by whatever signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

_LINE_LIMIT = 64 << 20  # bytes; the output of a command comes back in one line
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class ChildError(Exception):
    """The child could not do what it was asked, or has died."""


class Child:
    """The parent's side. `call` may be used from several threads at once."""

    def __init__(self, module: str, *, prefix: Sequence[str] = (), path: str | None = None) -> None:
        env = {**os.environ, "PYTHONPATH": str(_PACKAGE_ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        if path is not None:
            env["PATH"] = path
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-S", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,  # a Ctrl-C in the terminal is for the tests, which then take their boxes down
        )
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._words: list[str] = []
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_words)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._process.pid

    def call(self, do: str, *, timeout: float = 120.0, **args: object) -> Any:  # noqa: ANN401  # whatever JSON can be
        """Asks for `do` and returns its result. Raises `ChildError`, `TimeoutError`."""
        assert self._process.stdin is not None
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._ids)
            self._waiting[number] = answer
            try:
                self._process.stdin.write(json.dumps({"id": number, "do": do, "args": args}).encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                raise ChildError(f"{do}: the child has ended: {self._last_words()}") from error
        return answer.result(timeout)

    def close(self, timeout: float = 600.0) -> None:
        """Asks the child to end by closing its stdin, and waits until it is gone; kills it when it takes too long."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ChildError(f"process {self.pid} did not end in {timeout:g} s and was killed") from None
        finally:
            for thread in self._threads:
                thread.join(10)
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            with self._lock:
                answer = self._waiting.pop(reply["id"])
            if "error" in reply:
                answer.set_exception(ChildError(reply["error"]))
            else:
                answer.set_result(reply["result"])
        self._threads[1].join(10)
        with self._lock:
            lost, self._waiting = self._waiting, {}
        for answer in lost.values():
            answer.set_exception(ChildError(f"the child has ended: {self._last_words()}"))

    def _read_words(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._words.append(line.decode(errors="replace").rstrip())
            del self._words[:-40]

    def _last_words(self) -> str:
        return "\n".join(self._words) or "it said nothing"


async def serve(commands: Mapping[str, Callable[..., Awaitable[object]]]) -> None:
    """The child's side: answers requests, several at a time, until the parent closes the pipe or is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _end_with_parent(loop, reader)
    replies = sys.stdout.buffer

    async def answer(request: dict[str, Any]) -> None:
        reply: dict[str, object] = {"id": request["id"]}
        try:
            reply["result"] = await commands[request["do"]](**request["args"])
        except (OSError, ValueError, RuntimeError) as error:
            reply["error"] = f"{request['do']}: {error}"
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()

    # Any other exception is a mistake in the child: the group raises it, and the parent reads the traceback.
    async with asyncio.TaskGroup() as group:
        tasks: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            task = group.create_task(answer(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()


def _end_with_parent(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> None:
    # The pipe alone is not enough: a forked sibling of the parent may hold its other end.
    try:
        parent = os.pidfd_open(os.getppid())
    except OSError:
        reader.feed_eof()
        return

    def gone() -> None:
        loop.remove_reader(parent)
        reader.feed_eof()

    loop.add_reader(parent, gone)
