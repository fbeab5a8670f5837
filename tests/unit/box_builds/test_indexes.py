"""Where a source archive is found, and how it comes over a line that breaks."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from broken_http import ANSWERS, answering
from flash_build import indexes
from wheelhouse.check import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "flash_attn-2.8.3.tar.gz"


class Index(ThreadingHTTPServer):
    """A package index that asks for a password, whose files come in pieces of `cut` bytes and then break off."""

    cut = 300_000
    asked: list[str]
    sent = 0

    @property
    def url(self) -> str:
        return f"http://me:se%40cret@127.0.0.1:{self.server_address[1]}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        index = self.server
        index.asked.append(self.path)
        if self.headers["Authorization"] != "Basic bWU6c2VAY3JldA==":
            self.send_error(401)
        elif self.path == "/simple/flash-attn/":
            links = f'<a href="../../files/{NAME}#sha256={SHA256}">{NAME}</a>'
            self._answer(200, f'<html><a href="x.whl">x</a>{links}</html>'.encode())
        elif self.path == f"/files/{NAME}":
            begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self._answer(206 if begin else 200, CONTENT[begin:], cut=index.cut)
        else:
            self.send_error(404)

    def _answer(self, status: int, content: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])
        self.server.sent += len(content[:cut])
        self.close_connection = True


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setattr("flash_build.indexes.time.sleep", lambda _: None)
    with Index(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        # The password is written as in an index URL; the `@` in it is quoted.
        yield server
        server.shutdown()
        thread.join()


def test_a_line_that_breaks_costs_nothing_twice(index: Index, tmp_path: Path) -> None:
    settings = {"index-url": [index.url]}
    where = indexes.places(settings, {}, "flash-attn")
    seen: list[int] = []
    indexes.fetch(NAME, "", where, tmp_path / NAME, lambda have, _: seen.append(have))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert index.sent < len(CONTENT) + 1000
    assert index.asked.count(f"/files/{NAME}") == 4


def test_wrong_bytes_get_no_name(index: Index, tmp_path: Path) -> None:
    with pytest.raises(Trouble) as refused:
        indexes.fetch(NAME, "0" * 64, [f"{index.url}/flash-attn/"], tmp_path / NAME, lambda *_: None)
    assert "SHA-256" in str(refused.value)
    assert "se%40cret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_comes_first(index: Index, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / NAME).write_bytes(CONTENT)
    settings = {"find-links": [str(links)], "extra-index-url": [index.url]}
    where = indexes.places(settings, {}, "flash-attn")
    assert where == [str(links), "https://pypi.org/simple/flash-attn/", f"{index.url}/flash-attn/"]
    indexes.fetch(NAME, SHA256, where, tmp_path / "out" / NAME, lambda *_: None)
    assert index.asked == []
    assert indexes.places({**settings, "no-index": ["true"]}, {}, "flash-attn") == [str(links)]


def test_what_is_nowhere_says_where_it_was_sought(index: Index, tmp_path: Path) -> None:
    with pytest.raises(Trouble) as refused:
        indexes.fetch("other.tar.gz", "", [str(tmp_path), f"{index.url}/flash-attn/"], tmp_path / "x", lambda *_: None)
    said = str(refused.value)
    assert f"http://127.0.0.1:{index.server_address[1]}/simple/flash-attn/: it has no `other.tar.gz`" in said
    assert "python_env.index_url" in said


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_a_server_that_always_breaks_off(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flash_build.indexes.time.sleep", lambda _: None)
    with answering(ANSWERS[answer]) as url:
        with pytest.raises(Trouble, match="in none of the places"):
            indexes.fetch(NAME, "", [f"{url}/simple/flash-attn/"], tmp_path / "x", lambda *_: None)
        with pytest.raises(Trouble):
            indexes.download(f"{url}/{NAME}", tmp_path / "y", SHA256, lambda *_: None)
