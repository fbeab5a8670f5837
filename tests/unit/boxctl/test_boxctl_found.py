"""What is found besides what roles declare: by age, by git, not in caches, in limited time; hashes remembered."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from boxctl.layout import Layout

pytest.importorskip("sqlite3")
YEAR = 365 * 86400.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A root on a data disk below a home, set up just now; nothing runs."""
    from boxctl.layout import Layout

    home = tmp_path / "home"
    root = home / "disk" / "gpubox"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "boxctl").write_text("")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    _tick(root / "bin" / "boxctl")
    return Layout(root)


@pytest.fixture
def reasons(place: Layout) -> Callable[[], dict[str, str]]:
    """Found files, as path below the home to reason."""
    from boxctl import manifest

    def look() -> dict[str, str]:
        home = Path.home()
        listed = manifest.listed(place)["files"]
        return {os.path.relpath(f["absolute"], home): f["reason"] for f in listed if f["kind"] == "found"}

    return look


def test_caches_environments_and_models_are_left_out(place: Layout, reasons: Callable[[], dict[str, str]]) -> None:
    home = Path.home()
    for path in (
        ".cache/pip/wheel", ".ssh/id", ".bash_history", "code/__pycache__/a.pyc", "code/node_modules/x/index.js",
        "env/pyvenv.cfg", "env/bin/python", "conda/conda-meta/history", "conda/lib/big.so", ".local/lib/x.py",
        "disk/models--qwen--x/blobs/abc", "disk/gpubox/models/qwen/model.safetensors", "disk/gpubox/cache/uv/x",
        "marked/CACHEDIR.TAG", "marked/data", "code/site-packages/y.py",
        "disk/gpubox/ollama/models/blobs/sha256-abc", "disk/gpubox/cuda/12.4/bin/nvcc",
    ):  # fmt: skip
        _write(home / path)
    for path in ("code/train.py", "disk/out/adapter.safetensors", "disk/gpubox/mine/notes", ".config/tool.toml"):
        _write(home / path)
    newer = "newer than the box's set-up"
    found = reasons()
    assert found == dict.fromkeys(
        ("code/train.py", "disk/out/adapter.safetensors", "disk/gpubox/mine/notes", ".config/tool.toml"), newer
    )


def test_downloads_are_left_out_until_they_change(place: Layout, reasons: Callable[[], dict[str, str]]) -> None:
    hub, scope = Path.home() / "hub", Path.home() / "scope"
    _write(hub / "model.safetensors")
    _write(hub / ".cache/huggingface/download/model.safetensors.metadata")
    _write(scope / "model.safetensors")
    _write(scope / ".msc")
    _write(hub / "adapter.safetensors")
    now = time.time() + 100
    _write(scope / "adapter.safetensors")
    os.utime(scope / "adapter.safetensors", (now, now))
    assert sorted(reasons()) == ["hub/adapter.safetensors", "scope/adapter.safetensors"]
    os.utime(hub / "model.safetensors", (now, now))
    assert "hub/model.safetensors" in reasons()


def test_links_and_what_is_declared_are_not_found_again(place: Layout, reasons: Callable[[], dict[str, str]]) -> None:
    _write(place.results / "table.csv")
    (Path.home() / "link").symlink_to(place.results)
    (Path.home() / "hard").hardlink_to(place.results / "table.csv")
    assert reasons() == {}


def test_time_is_limited_and_that_is_said(place: Layout) -> None:
    from boxctl import manifest

    _write(Path.home() / "code" / "train.py")
    answer = manifest.listed(place, seconds=0.0)
    assert any("the search was ended early" in sentence for sentence in answer["incomplete"])
    assert manifest.listed(place, search=False)["incomplete"] == []


def test_without_git_the_whole_of_a_repository_is_found(
    place: Layout, reasons: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from boxctl import manifest

    tree = Path.home() / "tree"
    subprocess.run(["git", "init", "-q", str(tree)], check=True, timeout=60)
    _write(tree / "new.py")
    found = reasons()
    assert found == {"tree/new.py": "git: untracked"}
    monkeypatch.setenv("PATH", str(tmp_path))
    found = reasons()
    assert found["tree/new.py"] == "newer than the box's set-up"
    assert "tree/.git/HEAD" in found
    assert any("there is no git on this box" in words for words in manifest.listed(place)["incomplete"])


def test_hashes_are_remembered_until_a_file_changes(place: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    from boxctl import hashes, manifest

    file = place.results / "table.csv"
    _write(file)
    _tick(file)
    first = manifest.manifest(place)["files"]
    assert manifest.listed(place)["files"][0]["sha256"] == first[0]["sha256"]

    def unread(*_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "of_file", unread)
        assert manifest.manifest(place)["files"] == manifest.listed(place)["files"]
    before = file.stat()
    file.write_text("y")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    # Same size and time, and yet another file.
    assert manifest.listed(place)["files"][0]["sha256"] is None
    # Lines that were cut off do not hurt, and a file that has grown is written anew.
    memory = place.root / "hashes.jsonl"
    memory.write_text('["/half", [1, 2\n' * 300 + memory.read_text())
    known = hashes.Hashes(memory)
    info = before
    assert known.get(str(file), hashes.identity(info)) == first[0]["sha256"]
    assert len(memory.read_text().splitlines()) == 1


def _write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _tick(path: Path) -> None:
    """Wait until the clock of the file system has moved on, as far as hashes are remembered."""
    while time.time_ns() - path.stat().st_ctime_ns < 150_000_000:
        time.sleep(0.01)
