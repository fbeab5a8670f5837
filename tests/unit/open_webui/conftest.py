"""The role's program, found as on a box; and an open-webui and an engine that do what a test says."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/open_webui/files"
sys.path.insert(0, str(PROGRAM))

from webui_box.settle import Request  # noqa: E402 - found by the line above
from webui_box.start import Place  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "of-the-admin"
# The revisions of open-webui's tables, the oldest first, as alembic writes them in its two ways.
REVISIONS = ("d4c1a8e37b62", "c92da83b017f", "0bd252b206fb")


def install(environment: Path, version: str = "0.12.4", revisions: tuple[str, ...] = REVISIONS) -> Path:
    """Have an open-webui look installed in `environment`; its command, which is not there."""
    packages = environment / "lib/python3.11/site-packages"
    (packages / f"open_webui-{version}.dist-info").mkdir(parents=True)
    place = packages / "open_webui/migrations/versions"
    place.mkdir(parents=True)
    for older, own in zip((None, *revisions), revisions, strict=False):
        below = f"down_revision: str | None = {older!r}" if len(own) % 2 else f"down_revision = {older!r}"
        (place / f"{own}_x.py").write_text(f'"""x\n\nRevision ID: {own}\n"""\n\nrevision = "{own}"\n{below}\n')
    return environment / "bin/open-webui"


class Front(ThreadingHTTPServer):
    """Answers by (method, path): (status, JSON); collects what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, str, Any, str]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def to(self, method: str, path: str) -> list[Any]:
        """The bodies of these requests."""
        return [body for verb, where, body, _ in self.asked if (verb, where) == (method, path)]


class _Handler(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        self._reply(None)

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply(self, body: object) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path, body, self.headers.get("Authorization", "")))
        answers = self.server.answers.get((self.command, path), [(404, {"detail": "no"})])
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@contextmanager
def front() -> Iterator[Front]:
    """One that runs."""
    with Front() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@dataclass
class Box:
    """A root with a `boxctl` that says what `service` holds."""

    root: Path
    ui: Front
    engine: Front
    service: dict[str, Any] = field(default_factory=dict)

    def request(self, **more: object) -> Request:
        """What the role asks for."""
        values: dict[str, Any] = {"timeout": 60.0, "email": "me@example.com", **more}
        place = Place(self.root / "open-webui")
        return Request(root=self.root, service="open-webui", place=place, port=self.ui.port, **values)

    def write(self) -> None:
        """Let `boxctl status` say it, and the service have this engine."""
        status = json.dumps({"services": [{"name": "open-webui", **self.service}]})
        boxctl = self.root / "bin/boxctl"
        boxctl.parent.mkdir(parents=True, exist_ok=True)
        boxctl.write_text(f"#!/bin/sh\ncat <<'E'\n{status}\nE\n")
        boxctl.chmod(0o755)

    def engines(self, *urls: str, keys: str = "sk-engine") -> None:
        """What the service's specification names."""
        file = self.root / "services/open-webui/service.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        command = self.root / "envs/open-webui/bin/open-webui"
        words = [
            "-m",
            "webui_box",
            "run",
            str(self.root / "open-webui"),
            "--",
            str(command),
            "--port",
            str(self.ui.port),
        ]
        engines = {"OPENAI_API_BASE_URLS": ";".join(urls), "OPENAI_API_KEYS": keys}
        file.write_text(json.dumps({"argv": words, "env": {**engines, "WEBUI_ADMIN_EMAIL": "me@example.com"}}))


@pytest.fixture
def webui(tmp_path: Path) -> Iterator[Box]:
    """All is well: open-webui is up with one model, and so is its engine."""
    with front() as ui, front() as engine:
        box = Box(tmp_path, ui, engine, {"state": "running", "pid": os.getpid()})
        install(tmp_path / "envs/open-webui")
        box.write()
        box.engines(f"http://127.0.0.1:{engine.port}/v1")
        (tmp_path / "open-webui").mkdir()
        (tmp_path / "open-webui/admin-password").write_text(f"{PASSWORD}\n")
        models = {"data": [{"id": "small-gpt"}]}
        ui.answers = {
            ("GET", "/health"): [(200, {"status": True})],
            ("POST", "/api/v1/auths/signin"): [(200, {"token": "t"})],
            ("GET", "/api/models"): [(200, models)],
            ("POST", "/api/v1/models/create"): [(200, {})],
            ("POST", "/api/v1/models/model/update"): [(200, {})],
        }
        engine.answers = {("GET", "/v1/models"): [(200, models)]}
        yield box
