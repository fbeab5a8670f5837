"""A small engine's front on loopback: answers with the bytes that a test wrote down, cut where the test cuts."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """What the next request gets. `end`: `clean` ends the chunked body, `cut` closes the socket, `hang` waits."""

    status: int = 200
    chunks: list[bytes] = field(default_factory=list)
    end: str = "clean"


class Engine(ThreadingHTTPServer):
    """`requests` collects what was asked: `(path, headers, body)`; `gone` is set when a client left in the middle."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = Script()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.release = threading.Event()
        self.gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        self.gone.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        self._reply(None)

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply(self, body: object) -> None:
        script = self.server.script
        self.server.requests.append((self.path, dict(self.headers), body))
        self.send_response(script.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in script.chunks:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.flush()
        if script.end == "hang":
            self.server.release.wait(60)
        while script.end == "pour":
            self.wfile.write(b"3\r\n: \n\r\n")
        if script.end == "clean":
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


def event(content: str) -> bytes:
    """One piece of an answer as vLLM sends it."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


ROLE = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}\n\n'
DONE = b"data: [DONE]\n\n"
