"""Fetching sources, with real git and real submodules behind an address on GitHub that a mirror takes the place of."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kt_tools import source
from kt_tools.errors import Trouble
from kt_tools.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
QUIET = Progress(None)


def git(directory: Path, *words: str) -> str:
    identity = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", "-C", str(directory), *words],
        env={**os.environ, **identity}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def repository(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    (path / "file").write_text(text)
    git(path, "add", "-A")
    git(path, "commit", "--quiet", "-m", "first")
    return path


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`kvcache-ai/ktransformers` with a submodule, below a directory that stands for GitHub."""
    # git lets no submodule come from a path unless told; a real mirror is asked over HTTPS.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.file.allow")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "always")
    hub = tmp_path / "hub"
    repository(hub / "ggerganov/llama.cpp.git", "llama")
    path = repository(hub / "kvcache-ai/ktransformers.git", "kt")
    git(path, "submodule", "--quiet", "add", str(hub / "ggerganov/llama.cpp.git"), "third_party/llama.cpp")
    modules = path / ".gitmodules"
    modules.write_text(modules.read_text().replace(f"{hub}/", "https://github.com/"))
    git(path, "add", "-A")
    git(path, "commit", "--quiet", "-m", "submodule")
    git(path, "tag", "v0.3.2")
    return path


def wish(upstream: Path, tmp_path: Path, *, commit: str = "", mirror: str = "") -> source.Wish:
    return source.Wish(
        url="https://github.com/kvcache-ai/ktransformers.git",
        tag="v0.3.2",
        commit=commit or git(upstream, "rev-parse", "v0.3.2^{commit}"),
        path=tmp_path / "src",
        mirror=mirror or str(tmp_path / "hub"),
        seconds_between=0.0,
    )


def test_tag_and_submodules_come_through_the_mirror(upstream: Path, tmp_path: Path) -> None:
    wanted = wish(upstream, tmp_path)
    source.fetch(wanted, QUIET)
    assert (wanted.path / "third_party/llama.cpp/file").read_text() == "llama"
    source.check(wanted)
    # What is there is not fetched again.
    shutil.rmtree(tmp_path / "hub")
    source.fetch(wanted, QUIET)


def test_a_submodule_that_is_missing_is_fetched_and_without_it_nothing_is_built(upstream: Path, tmp_path: Path) -> None:
    wanted = wish(upstream, tmp_path)
    source.fetch(wanted, QUIET)
    git(wanted.path, "submodule", "--quiet", "deinit", "--force", "third_party/llama.cpp")
    with pytest.raises(Trouble, match=r"submodules third_party/llama\.cpp of v0\.3\.2 are not there"):
        source.check(wanted)
    source.fetch(wanted, QUIET)
    source.check(wanted)


def test_a_mirror_cannot_bring_other_sources(upstream: Path, tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="these are other sources"):
        source.fetch(wish(upstream, tmp_path, commit="0" * 40), QUIET)


def test_a_dead_mirror_is_tried_again_and_then_named(upstream: Path, tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"failed 5 times.*git_mirror"):
        source.fetch(wish(upstream, tmp_path, mirror=str(tmp_path / "nowhere")), QUIET)


def test_an_interrupted_fetch_goes_on(upstream: Path, tmp_path: Path) -> None:
    wanted = wish(upstream, tmp_path)
    wanted.path.mkdir()
    git(wanted.path, "init", "--quiet")
    source.fetch(wanted, QUIET)
    assert (wanted.path / "file").read_text() == "kt"
