"""Files on their way home: whole, right, and never half under their own name."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import namedtuple
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, HostKeyChanged, TransferFailed, Unreachable
from gpubox.remote import transfer
from gpubox.remote.transfer import ManifestFile, pull

from .server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.remote.login import Login

    from .server import BoxServer, Proxy


class Box:
    """Files below a root on the box, and the manifest of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[ManifestFile] = []

    def add(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.files.append(ManifestFile(path, len(content), hashlib.sha256(content).hexdigest()))


@pytest.fixture
def box(server: BoxServer) -> Box:
    root = server.home / "the root"
    root.mkdir()
    return Box(root)


class Meter:
    """Adds up what `on_bytes` tells; may act when a number is reached."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count


def same(box: Box, dest: Path) -> bool:
    return all((dest / file.path).read_bytes() == (box.root / file.path).read_bytes() for file in box.files)


def left_over(dest: Path) -> list[str]:
    return [path.name for path in dest.rglob("*") if path.is_file() and ".gpubox-part" in path.parts]


def test_everything_comes_home(login: Login, box: Box, tmp_path: Path) -> None:
    for number in range(60):
        box.add(f"logs/run {number}/it's 日志.log", os.urandom(number * 1000))
    box.add("-rf", b"a name like an option")
    box.add("models/new\nline", b"x")
    box.add("models/weights", os.urandom(3_000_000))
    meter = Meter()
    pull(login, str(box.root), box.files, tmp_path / "home", meter, big=1_000_000)
    assert same(box, tmp_path / "home")
    assert meter.total == sum(file.size for file in box.files)
    assert not list((tmp_path / "home").glob(".gpubox-part"))


def test_nothing_to_fetch_opens_no_connection(login: Login, box: Box, tmp_path: Path, proxy: Proxy) -> None:
    pull(login, str(box.root), [], tmp_path / "home", Meter())
    assert proxy.accepted == 0


@pytest.mark.parametrize("big", [10, 10_000_000], ids=["alone", "in the tar"])
def test_a_file_that_rotted_is_named_and_does_not_arrive(login: Login, box: Box, tmp_path: Path, big: int) -> None:
    box.add("good", b"g" * 100)
    box.add("rotten", b"r" * 100)
    (box.root / "rotten").write_bytes(b"r" * 99 + b"x")
    meter = Meter()
    with pytest.raises(TransferFailed, match=r"1 file did not arrive whole:\n  rotten: its SHA-256 differs"):
        pull(login, str(box.root), box.files, tmp_path / "home", meter, big=big)
    assert (tmp_path / "home" / "good").exists()
    assert not (tmp_path / "home" / "rotten").exists()
    assert left_over(tmp_path / "home") == []
    assert meter.total == 100


@pytest.mark.parametrize("big", [1, 10_000_000], ids=["alone", "in the tar"])
def test_files_that_are_gone_or_shorter_are_named(login: Login, box: Box, tmp_path: Path, big: int) -> None:
    box.add("gone", b"g" * 100)
    box.add("shorter", b"s" * 100)
    (box.root / "gone").unlink()
    (box.root / "shorter").write_bytes(b"s" * 40)
    with pytest.raises(TransferFailed) as caught:
        pull(login, str(box.root), box.files, tmp_path / "home", Meter(), big=big)
    assert "No such file" in caught.value.message
    assert "shorter: the box sent 40 of 100 bytes" in caught.value.message


@pytest.mark.parametrize("big", [1, 10_000_000], ids=["alone", "in the tar"])
def test_a_log_that_grew_comes_as_it_was_hashed(login: Login, box: Box, tmp_path: Path, big: int) -> None:
    box.add("log", b"line\n" * 100)
    with (box.root / "log").open("ab") as log:
        log.write(b"more\n" * 1_000_000)
    pull(login, str(box.root), box.files, tmp_path / "home", Meter(), big=big)
    assert (tmp_path / "home" / "log").read_bytes() == b"line\n" * 100


def test_links_come_home_as_files(login: Login, box: Box, tmp_path: Path) -> None:
    box.add("blob", b"b" * 5000)
    blob = box.files[0]
    (box.root / "symbolic").symlink_to("blob")
    (box.root / "second").hardlink_to(box.root / "blob")
    box.files += [ManifestFile(name, blob.size, blob.sha256) for name in ("symbolic", "second")]
    pull(login, str(box.root), box.files, tmp_path / "home", Meter())
    assert same(box, tmp_path / "home")
    assert not (tmp_path / "home" / "symbolic").is_symlink()


def test_what_is_home_is_not_fetched_again(login: Login, box: Box, tmp_path: Path, server: BoxServer) -> None:
    box.add("one", b"1" * 1000)
    box.add("two", b"2" * 1000)
    pull(login, str(box.root), box.files, tmp_path / "home", Meter())
    (tmp_path / "home" / "two").write_bytes(b"x" * 1000)
    (box.root / "one").unlink()  # It would fail if it were asked for.
    meter = Meter()
    pull(login, str(box.root), box.files, tmp_path / "home", meter)
    assert (tmp_path / "home" / "two").read_bytes() == b"2" * 1000
    assert meter.total == 2000


def test_a_cut_link_goes_on_where_it_was(login: Login, box: Box, tmp_path: Path, proxy: Proxy) -> None:
    content = os.urandom(40_000_000)
    box.add("model", content)
    cut = threading.Event()
    meter = Meter()

    def once(count: int) -> None:
        meter(count)
        assert not (tmp_path / "home" / "model").exists()
        if meter.total > 5_000_000 and not cut.is_set():
            cut.set()
            proxy.cut()

    pull(login, str(box.root), box.files, tmp_path / "home", once, big=1000)
    assert proxy.accepted == 2
    assert same(box, tmp_path / "home")
    # Nothing came twice.
    assert meter.total == len(content)


def test_a_cut_link_among_small_files(login: Login, box: Box, tmp_path: Path, proxy: Proxy) -> None:
    for number in range(40):
        box.add(f"file{number}", os.urandom(500_000))
    cut = threading.Event()
    meter = Meter()

    def once(count: int) -> None:
        meter(count)
        if meter.total > 3_000_000 and not cut.is_set():
            cut.set()
            proxy.cut()

    pull(login, str(box.root), box.files, tmp_path / "home", once)
    assert same(box, tmp_path / "home")
    assert meter.total == 20_000_000


def test_a_part_of_another_file_is_thrown_away(login: Login, box: Box, tmp_path: Path) -> None:
    box.add("model", b"m" * 3000)
    home = tmp_path / "home"
    item = transfer._incoming(box.files[0], home, home / ".gpubox-part")
    item.part.parent.mkdir(parents=True)
    item.part.write_bytes(b"x" * 1000)
    meter = Meter()
    pull(login, str(box.root), box.files, home, meter, big=1000)
    assert same(box, home)
    assert meter.total == 3000


def test_big_pulls_use_several_connections(login: Login, box: Box, tmp_path: Path, proxy: Proxy) -> None:
    for number in range(8):
        box.add(f"file{number}", os.urandom(1000))
    pull(login, str(box.root), box.files, tmp_path / "home", Meter(), big=4000)
    assert proxy.accepted == 4
    assert same(box, tmp_path / "home")


def test_no_room_at_home_is_told_before_anything_moves(
    login: Login, box: Box, tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add("model", b"m" * 1000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 9, 1))
    with pytest.raises(TransferFailed, match="GiB free"):
        pull(login, str(box.root), box.files, tmp_path / "home", Meter())
    assert proxy.accepted == 0


def test_a_place_that_cannot_be_written(login: Login, box: Box, tmp_path: Path) -> None:
    box.add("a/b", b"m" * 1000)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_text("a file where a directory should be")
    with pytest.raises(TransferFailed, match="cannot write below"):
        pull(login, str(box.root), box.files, tmp_path / "home", Meter())


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", ".gpubox-part/x"])
def test_a_manifest_that_points_outside_is_refused(login: Login, box: Box, tmp_path: Path, path: str) -> None:
    with pytest.raises(TransferFailed, match="outside of its directory"):
        pull(login, str(box.root), [ManifestFile(path, 1, "0")], tmp_path / "home", Meter())


def test_a_changed_host_key_stops_it(login: Login, box: Box, tmp_path: Path, server: BoxServer) -> None:
    box.add("one", b"1")
    server.change_host_key()
    with pytest.raises(HostKeyChanged):
        pull(login, str(box.root), box.files, tmp_path / "home", Meter())


def test_a_refused_key_stops_it(login: Login, box: Box, tmp_path: Path, server: BoxServer) -> None:
    box.add("one", b"1")
    server.forget_keys()
    with pytest.raises(AuthFailed):
        pull(login, str(box.root), box.files, tmp_path / "home", Meter())


def test_a_box_that_is_away_is_given_up_after_some_tries(
    login: Login, box: Box, tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.01, 0.01))
    proxy.target = free_port()
    box.add("one", b"1")
    with pytest.raises(Unreachable):
        pull(login, str(box.root), box.files, tmp_path / "home", Meter())
    assert proxy.accepted == 3


def test_an_interrupt_leaves_no_child(login: Login, box: Box, tmp_path: Path, server: BoxServer) -> None:
    box.add("model", os.urandom(5_000_000))

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(login, str(box.root), box.files, tmp_path / "home", interrupt)
    assert not (tmp_path / "home" / "model").exists()
