"""Having a release: broken links, other suffixes, and archives that are not what their checksums say."""

from __future__ import annotations

import io
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from broken_http import ANSWERS, answering
from ollama_fetch import release as fetched
from ollama_fetch.errors import FetchError
from ollama_fetch.progress import Progress
from ollama_fetch.release import Release, install, listed
from sim import ollama
from sim.ollama.releases import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def releases(place: Path) -> Iterator[str]:
    running = server(0, place)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Releases 1.0.0, packed with gzip as all were up to 0.13: zstd's library is on boxes only."""
    ollama.release(tmp_path / "releases", "1.0.0", kind="tgz")
    with releases(tmp_path / "releases") as url:
        yield url


def wanted(url: str, **fields: object) -> Release:
    return Release(**{"version": "1.0.0", "url": url, "sha256s": {}, "budget": 20.0, **fields})  # type: ignore[arg-type]


def test_a_release_is_there_whole_after_a_cut(tmp_path: Path, url: str) -> None:
    (tmp_path / "releases/cut").write_text("1000")
    program = install(wanted(url), tmp_path / "place", Progress())
    assert program == tmp_path / "place/1.0.0/bin/ollama"
    assert program.stat().st_mode & 0o111
    assert (tmp_path / "place/1.0.0/lib/ollama/libggml-base.so").is_symlink()
    assert list((tmp_path / "place/downloads").iterdir()) == []
    # What is there is not asked for again.
    assert install(wanted("http://127.0.0.1:9"), tmp_path / "place", Progress()) == program


def test_a_mirror_that_lies_is_found_out(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchError, match="is the mirror a true one"):
        install(wanted(url, sha256s=dict.fromkeys(("amd64", "arm64"), "0" * 64)), tmp_path / "place", Progress())
    assert not (tmp_path / "place/1.0.0").exists()


def test_a_release_that_does_not_exist_is_said(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchError, match="is there such a release"):
        install(wanted(url, version="1.0.1"), tmp_path / "place", Progress())


def test_a_machine_without_a_build_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(FetchError, match="not built for riscv64"):
        install(wanted("http://127.0.0.1:9"), tmp_path, Progress())


def test_nobody_there_is_said_when_patience_ends(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="nothing came for"):
        install(wanted("http://127.0.0.1:9", budget=0.0), tmp_path, Progress())


def test_a_release_lists_its_sums() -> None:
    text = f"{'a' * 64}  ./ollama-linux-amd64.tar.zst\n{'b' * 64} *x.zip\nnonsense\n"
    assert listed(text) == {"ollama-linux-amd64.tar.zst": "a" * 64, "x.zip": "b" * 64}


@pytest.mark.parametrize(
    ("name", "link"), [("../x", None), ("/etc/x", None), ("lib/x", "../../x"), ("lib/x", "/etc/x")]
)
def test_an_archive_that_reaches_out_of_its_place_is_refused(tmp_path: Path, name: str, link: str | None) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        if link is not None:
            member.type, member.linkname = tarfile.SYMTYPE, link
        tar.addfile(member)
    archive = tmp_path / "bad.tgz"
    archive.write_bytes(packed.getvalue())
    with pytest.raises(FetchError, match="outside of it"):
        fetched._unpack(archive, tmp_path / "place")


@pytest.mark.parametrize("known", [{}, dict.fromkeys(("amd64", "arm64"), "0" * 64)], ids=["sums", "archive"])
@pytest.mark.parametrize("answer", list(ANSWERS))
def test_a_server_that_always_breaks_off(tmp_path: Path, answer: str, known: dict[str, str]) -> None:
    with answering(ANSWERS[answer]) as url, pytest.raises(FetchError):
        install(wanted(url, sha256s=known, budget=0.0), tmp_path, Progress())
