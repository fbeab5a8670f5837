"""The running hub: a server on 127.0.0.1, its counters, and the sending of files with what goes wrong in it.

`/_sim/` steers a hub in another process: GET `counters`, POST `faults` [fault...], POST `total_rate` {bytes a second}.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from sim.hub import huggingface, modelscope
from sim.hub.content import Repo, repo
from sim.hub.counters import Counters
from sim.hub.faults import HubFault, HubFaults
from sim.hub.pace import Cap
from sim.hub.sending import send
from sim.hub.web import Answer, Asked, Hub, Part, content
from sim.threads import Handler, Http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sim.hub.content import Blob


class HubServer:
    """A hub that runs. `repos` may get commits, and `faults` others, while it does."""

    def __init__(self, repos: Mapping[str, Repo], faults: HubFaults, *, range_status: int = 200, port: int = 0) -> None:
        self.repos, self.faults = dict(repos), faults
        self.counters = Counters()
        self.cap = Cap(lambda: faults.total_rate)
        self.closing = threading.Event()
        self.mistakes: list[BaseException] = []
        # The CDN is another origin, as the real ones are: clients keep their tokens, and HF's stops following, there.
        self._listening = [_Http(("127.0.0.1", number), _Handler) for number in (port, 0)]
        self.port, self.cdn_port = (int(each.server_address[1]) for each in self._listening)
        self.url = f"http://127.0.0.1:{self.port}"
        self.hub = Hub(self.repos, faults, f"http://127.0.0.1:{self.cdn_port}", range_status)
        self._threads = []
        for each in self._listening:
            each.hub, each.mistakes = self, self.mistakes
            thread = threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def environment(self) -> dict[str, str]:
        """By which the clients of both hubs find it."""
        return {"MODELSCOPE_ENDPOINT": self.url, "HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1"}

    def close(self) -> None:
        """Answers nothing any more; what is being sent ends."""
        self.closing.set()
        for each, thread in zip(self._listening, self._threads, strict=True):
            each.shutdown()
            each.server_close()
            thread.join(10)


@contextlib.contextmanager
def hub(
    repos: Mapping[str, Path | Repo | Mapping[str, Blob | bytes]],
    faults: HubFaults | None = None,
    *,
    range_status: int = 200,
    port: int = 0,
) -> Iterator[HubServer]:
    """`with hub({"owner/name": directory}) as h:` serves it at `h.url`, from threads of this process.

    A repository is a directory, a mapping of paths to contents, or a `Repo`. `range_status`: how ModelScope answers
    a range. Raises at the end what the hub raised in between.
    """
    made = {name: source if isinstance(source, Repo) else repo(source) for name, source in repos.items()}
    server = HubServer(made, faults or HubFaults(), range_status=range_status, port=port)
    try:
        yield server
    finally:
        server.close()
        if server.mistakes:
            raise RuntimeError("the simulated hub itself failed") from server.mistakes[0]


class _Http(Http):
    hub: HubServer


class _Handler(Handler):
    server: _Http

    def _any(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if split.path.startswith("/_sim/"):
            self._give(_control(self.server.hub, split.path.removeprefix("/_sim/"), body), None)
            return
        url = f"http://{self.headers.get('Host', '127.0.0.1')}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, unquote(split.path), dict(parse_qsl(split.query)), headers, url)
        kind, path = _kind(asked)
        self._give(_fault(self.server.hub.faults, kind, path) or _page(asked, self.server.hub), kind)

    do_GET = do_HEAD = do_POST = do_PUT = _any  # noqa: N815  # the names are http.server's

    def _give(self, answer: Answer, kind: str | None) -> None:
        hub, part = self.server.hub, answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(part, bytes):
            self.send_header("Content-Length", str(len(part)))
        elif "Content-Length" not in answer.headers:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if kind and not (isinstance(part, Part) and self.command == "GET"):
            hub.counters.page(kind)
        if self.command == "HEAD":
            return
        if isinstance(part, bytes):
            self.wfile.write(part)
            self.wfile.flush()
            return
        self.wfile.flush()
        if not send(self.connection, part, hub.faults, hub.cap, hub.counters, self._gone):
            self._hang_up()

    def _gone(self, seconds: float) -> bool:
        """Waits so long, or until the client or the hub is gone."""
        end = threading.Event()
        waited = 0.0
        while waited < seconds and not self.server.hub.closing.is_set():
            step = min(0.1, seconds - waited)
            readable, _, _ = select.select([self.connection], [], [], step)
            if readable:
                with contextlib.suppress(OSError):
                    if self.connection.recv(1, socket.MSG_PEEK):
                        end.wait(step)
                        waited += step
                        continue
                return True
            waited += step
        return self.server.hub.closing.is_set()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """The counters are the log."""


def _page(asked: Asked, server: HubServer) -> Answer:
    if asked.path.startswith("/_cdn/"):
        _, _, source, commit, owner, name, path = asked.path.split("/", 6)
        held = server.repos.get(f"{owner}/{name}")
        found = held.commit(commit) if held else None
        blob = found.files.get(path) if found else None
        if blob is None:
            return Answer(404, {}, b"NoSuchKey")
        part = Part(f"{source}/cdn", f"{owner}/{name}", path, blob, 0, blob.size)
        # As Aliyun's OSS and CloudFront do; neither says the SHA-256 here.
        status = server.hub.range_status if source == "modelscope" else 206
        return content(asked, server.hub, part, {"ETag": f'"{blob.sha256[:32]}"'}, status)
    known = modelscope.answer(asked, server.hub) or huggingface.answer(asked, server.hub)
    return known or Answer(404, {"Content-Type": "text/html"}, b"<html>404</html>")


def _kind(asked: Asked) -> tuple[str, str]:
    """`<hub>/<stage>`, and the file (or the repository, for a list)."""
    words = asked.path.strip("/").split("/")
    if words[0] == "_cdn":
        return f"{words[1]}/cdn", "/".join(words[5:])
    if asked.path.startswith("/api/v1/"):
        if asked.path.endswith("/repo"):
            return "modelscope/file", asked.query.get("FilePath", "")
        return "modelscope/list", "/".join(words[3:5])
    if words[0] == "api":
        return "huggingface/list", "/".join(words[2:4])
    source = "modelscope" if words[0] == "models" else "huggingface"
    return f"{source}/file", "/".join(words[5 if words[0] == "models" else 4 :])


def _fault(faults: HubFaults, kind: str, path: str) -> Answer | None:
    if (fault := faults.take("http", kind, path)) is None:
        return None
    headers = {"Content-Type": "text/html"}
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    return Answer(fault.status, headers, f"<html><body><h1>{fault.status}</h1>nginx</body></html>".encode())


def _control(server: HubServer, verb: str, body: bytes) -> Answer:
    if verb == "faults":
        server.faults.restart(HubFault(**values) for values in json.loads(body))
    elif verb == "total_rate":
        server.faults.total_rate = float(json.loads(body))
    elif verb == "forget":
        server.counters.forget()
    return Answer.json(server.counters.as_json())
