"""One transfer by one `curl`: what to fetch on its stdin (no token in argv), headers and body from its stdout."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from model_fetch.errors import Cut, Trouble, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

# A connection that cannot be made in so many seconds is not a good one.
CONNECT_SECONDS = 15
_ORPHAN_SECONDS = 300
_READ = 1 << 18
_HEADERS_LIMIT = 1 << 17
_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
# Linux: F_SETPIPE_SZ. A bigger pipe is fewer wake-ups.
_F_SETPIPE_SZ = 1031
# curl's exit codes (its manual page) that mean: no connection, so no byte was asked for.
_NOT_REACHED = (5, 6, 7, 35, 60)


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. `start` and `end`: bytes [start, end); None: all. `environment` holds proxies; None: use none."""

    url: str
    headers: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and headers of the last answer; `etag` may be of a redirect before it (X-Linked-ETag)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    linked: str = ""

    @property
    def range(self) -> tuple[int, int, int | None] | None:
        """First byte, byte after the last, and the file's size, of Content-Range; ModelScope sends it with 200, too."""
        found = _CONTENT_RANGE.match(self.headers.get("content-range", ""))
        if not found:
            return None
        return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])

    @property
    def length(self) -> int | None:
        """Content-Length."""
        words = self.headers.get("content-length", "")
        return int(words) if words.isdigit() else None


class Transfer:
    """A running `curl`. Raises `Trouble` when there is none, `Cut` and `Unreachable` for what goes wrong."""

    def __init__(self, request: Request) -> None:
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                ["curl", "--disable", "--config", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(request.environment),
            )
        except FileNotFoundError:
            raise no_curl() from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.fcntl(self._out, _F_SETPIPE_SZ, 1 << 20)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(_config(request).encode())
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def stop(self) -> None:
        """End it from another thread; whoever reads gets the end."""
        self._process.kill()

    def reply(self, seconds: float) -> Reply:
        """Status and headers. Raises `Cut` when nothing comes for `seconds`."""
        linked = ""
        while True:
            status, headers = self._block(seconds)
            linked = headers.get("x-linked-etag", linked)
            # curl follows a redirect by itself; its answer comes next.
            if (status in _REDIRECTS and "location" in headers) or 100 <= status < 200:
                continue
            return Reply(status, headers, linked.strip('"'))

    def read(self, seconds: float) -> bytes:
        """The next bytes of the body; empty at its end. Raises `Cut` when nothing comes for `seconds`, or it broke."""
        if self._rest:
            found, self._rest = self._rest, b""
            return found
        if not self._ready(seconds):
            raise Cut(f"nothing came for {seconds:g} s")
        data = os.read(self._out, _READ)
        if not data:
            self._end()
        return data

    def all(self, seconds: float, limit: int) -> bytes:
        """The whole body within `seconds`. Raises `Unreachable` when it is longer than `limit` bytes."""
        parts, total, until = [], 0, time.monotonic() + seconds
        while data := self.read(max(0.0, until - time.monotonic())):
            parts.append(data)
            total += len(data)
            if total > limit:
                raise Unreachable(f"the answer is longer than {limit} bytes")
        return b"".join(parts)

    def _ready(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._out, select.POLLIN | select.POLLHUP)
        return bool(poll.poll(seconds * 1000))

    def _block(self, seconds: float) -> tuple[int, dict[str, str]]:
        until = time.monotonic() + seconds
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > _HEADERS_LIMIT or not self._ready(max(0.0, until - time.monotonic())):
                raise Cut(f"no answer within {seconds:g} s")
            data = os.read(self._out, _READ)
            if not data:
                self._end()
                raise Cut("the server hung up without an answer")
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            raise Cut(f"no HTTP answer but {first[:60]!r}")
        pairs = (line.partition(":") for line in lines)
        return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _end(self) -> None:
        """It ended by itself: well, or with a reason."""
        code = self._process.wait()
        if code == 0:
            return
        assert self._process.stderr
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        reason = re.sub(r"^curl: \(\d+\) ", "", said[-1]) if said else f"curl ended with exit code {code}"
        raise (Unreachable if code in _NOT_REACHED else Cut)(reason)


def no_curl() -> Trouble:
    """The error of a box without `curl`."""
    manager = next((name for name in ("apt-get", "dnf", "yum", "apk", "brew") if shutil.which(name)), "apt-get")
    command = {
        "apt-get": "apt-get update && apt-get install -y curl",
        "apk": "apk add curl",
        "brew": "brew install curl",
    }
    return Trouble(
        "`curl` is missing, which fetches the models", f"`{command.get(manager, f'{manager} install -y curl')}`"
    )


def _environment(proxies: Mapping[str, str] | None) -> dict[str, str]:
    """A child's environment: no proxy of ours, the route's own, no token."""
    dropped = ("http_proxy", "https_proxy", "all_proxy", "modelscope_api_token", "hf_token", "gpubox_model_spec")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in dropped}
    return {**kept, **(proxies or {})}


def _config(request: Request) -> str:
    options = [
        f"url = {_quoted(request.url)}",
        *(f"header = {_quoted(header)}" for header in request.headers),
        "location\nmax-redirs = 8\nproto = =http,https\nproto-redir = =http,https",
        "include\nsuppress-connect-headers\nsilent\nshow-error\ngloboff\nhttp1.1",
        f"connect-timeout = {CONNECT_SECONDS}",
        # Should we be killed, it ends by itself.
        f"speed-limit = 1\nspeed-time = {_ORPHAN_SECONDS}",
        'user-agent = "gpubox"',
    ]
    if request.environment is None:
        options.append('noproxy = "*"')
    if request.start is not None:
        options.append(f'range = "{request.start}-{"" if request.end is None else request.end - 1}"')
    return "\n".join(options) + "\n"


def _quoted(value: str) -> str:
    if set(value) & set("\r\n\0"):
        raise Trouble("a URL or header has a line break in it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
