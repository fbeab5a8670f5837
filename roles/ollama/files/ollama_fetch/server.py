"""An Ollama server of a job's own: models are pulled before there is a service, and on a box without its GPU."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ollama_fetch.api import Api
from ollama_fetch.errors import FetchError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_START_S, _END_S = 120.0, 20.0
# How long it may take to note how far a pull is whose client is gone.
_NOTE_S = 0.5
_PR_SET_PDEATHSIG = 1


@contextmanager
def serving(program: Path, env: Mapping[str, str]) -> Iterator[Api]:
    """`ollama serve` on a free port for as long as the block lasts. Raises `FetchError` when it does not start."""
    port = _free_port()
    child = subprocess.Popen(
        [str(program), "serve"],
        env={**os.environ, **env, "OLLAMA_HOST": f"127.0.0.1:{port}"},
        stdin=subprocess.DEVNULL,
        preexec_fn=_end_with_parent,  # noqa: PLW1509  # this program has one thread
    )
    try:
        api = Api(port)
        _await(api, child)
        yield api
    finally:
        time.sleep(_NOTE_S)
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def await_service(port: int, seconds: float) -> Api:
    """The service's API, as soon as it answers. Raises `FetchError`."""
    api = Api(port)
    end = time.monotonic() + seconds
    while True:
        try:
            api.get("/api/version")
        except TryAgainError as error:
            if time.monotonic() > end:
                raise FetchError(f"{error} on port {port}; see `boxctl logs ollama`") from error
            time.sleep(0.2)
        else:
            return api


def _await(api: Api, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_S
    while True:
        if child.poll() is not None:
            raise FetchError(f"`ollama serve` ended with exit code {child.returncode}; its words are above")
        try:
            api.get("/api/version")
        except TryAgainError as error:
            if time.monotonic() > end:
                raise FetchError(f"`ollama serve` does not answer after {_START_S:.0f} s") from error
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """However this program ends, the server ends, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
