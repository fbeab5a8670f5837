"""The provider `local` through the door that the stories use."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from gpubox import paths
from gpubox.errors import Failed, Refused, Unreachable, UsageError
from gpubox.ledger import BoxRecord
from gpubox.providers import Order, Provider, Rented, provider
from gpubox.providers.local_box import processes
from gpubox.providers.local_box.layout import BoxDir
from waits import until

from .client import Client, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile import BoxFile

NO_FILE = cast("BoxFile", None)  # nothing of a box file matters to a local box


@pytest.fixture
def local() -> Iterator[Provider]:
    """The provider; its boxes are ended and removed afterwards."""
    local = provider("local")
    yield local
    for directory in _boxes().iterdir() if _boxes().exists() else []:
        if directory.name != ".locks":
            local.release(record(directory.name, str(directory)))
            assert processes.members(BoxDir(directory)) == []


def create(local: Provider, name: str) -> Rented:
    """A new box, as it is handed over when it runs."""
    return local.ready(record(name, local.create(Order(name, NO_FILE))), print)


def record(name: str, ref: str | None) -> BoxRecord:
    now = datetime.now(UTC)
    return BoxRecord(name=name, provider="local", provider_ref=ref, created_at=now, updated_at=now)


def test_the_life_of_a_box(local: Provider, home: Path) -> None:
    rented = create(local, "demo")
    box = record("demo", rented.ref)
    assert (rented.endpoint.host, rented.endpoint.user) == ("127.0.0.1", "root")
    assert rented.password is not None
    assert rented.password not in repr(rented)
    assert local.state(box) == "running"
    assert local.ready(box, print) == rented
    ssh = _connect(rented, home)
    assert ssh.run("echo kept > file; setsid sleep 600 > /dev/null 2>&1 < /dev/null &").returncode == 0

    local.power_off(box)
    assert local.state(box) == "stopped"
    assert processes.members(BoxDir(Path(rented.ref))) == []
    with pytest.raises(Unreachable, match="not running"):
        local.ready(box, print)
    local.power_off(box)  # once more: nothing to do

    local.power_on(box)
    local.power_on(box)
    assert local.ready(box, print) == rented
    assert ssh.run("cat file").stdout == b"kept\n"

    local.release(box)
    assert local.state(box) == "gone"
    assert not Path(rented.ref).exists()
    local.release(box)
    with pytest.raises(Failed, match="gone"):
        local.power_on(box)


def test_create_again_gives_the_same_box(local: Provider) -> None:
    first = create(local, "again")
    assert create(local, "again") == first
    # The ledger was cut off between the intent and the answer: the name alone finds the box.
    assert local.state(record("again", None)) == "running"


def test_creates_at_once_give_one_box(local: Provider) -> None:
    with ThreadPoolExecutor(4) as pool:
        rented: list[Rented] = list(pool.map(lambda _: create(local, "crowd"), range(4)))
    assert len(set(rented)) == 1
    servers = [p for p in processes.members(BoxDir(Path(rented[0].ref))) if "gpubox.providers.local_box" in p.cmdline()]
    assert len(servers) == 1


def test_a_killed_server_leaves_a_stopped_box_that_starts_again(local: Provider, home: Path) -> None:
    rented = create(local, "killed")
    box = record("killed", rented.ref)
    running = BoxDir(Path(rented.ref)).running()
    assert running is not None
    server = psutil.Process(running.pid)
    server.send_signal(signal.SIGKILL)
    until(lambda: local.state(box) == "stopped", "the killed server counts as stopped")
    local.power_on(box)
    again = local.ready(box, print)
    assert again == rented
    assert _connect(again, home).run("echo back").stdout == b"back\n"


def test_a_create_that_was_cut_off_is_finished_by_the_next(local: Provider, home: Path) -> None:
    half = _boxes() / "half"
    (half / "home").mkdir(parents=True)
    rented = create(local, "half")
    assert Path(rented.ref) == half
    assert _connect(rented, home).run("true").returncode == 0


@pytest.mark.parametrize("name", ["", "..", "../x", ".locks", "a/b"])
def test_names_that_are_no_directory_are_refused(local: Provider, name: str) -> None:
    with pytest.raises(UsageError):
        create(local, name)


def test_a_directory_that_is_no_local_box_is_never_removed(local: Provider, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    with pytest.raises(Refused, match="not the directory of a local box"):
        local.release(record("x", str(tmp_path)))
    with pytest.raises(Refused):
        local.power_off(record("x", str(tmp_path)))
    assert (tmp_path / "precious").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_data_directory_without_write_permission_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "data"))
    with pytest.raises(Failed, match="cannot"):
        create(provider("local"), "demo")


def test_a_data_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "file" / "data"))
    with pytest.raises(Failed, match="cannot make the directory") as caught:
        create(provider("local"), "demo")
    assert "GPUBOX_HOME" in str(caught.value.hint)


def _boxes() -> Path:
    return paths.data_dir() / "local-boxes"


def _connect(rented: Rented, home: Path) -> Client:
    box = BoxDir(Path(rented.ref))
    identity, running = box.identity(), box.running()
    assert identity is not None
    assert running is not None
    return connect(box, identity, running, home)
