"""Bringing the records of a benchmark home from a real (local) box."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from gpubox.bench import result, story
from gpubox.bench.records import bring_home
from gpubox.errors import RemoteCommandFailed, TransferFailed
from gpubox.ledger import Ledger
from gpubox.providers import Order, provider
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.remote.login import Login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile import BoxFile

REAL = Path(__file__).parent / "fixtures" / "real"
FILES = Path(__file__).resolve().parents[3] / "roles" / "supervisor" / "files"


@pytest.fixture
def login() -> Iterator[Login]:
    local = provider("local")
    with Ledger() as ledger:
        ref = local.create(Order("records", cast("BoxFile", None)))
        record = ledger.add("records", "local", provider_ref=ref)
    rented = local.ready(record, print)
    try:
        identity = ensure_identity()
        key = first_contact(
            "records",
            rented.endpoint,
            password=lambda: rented.password or "",
            pinned=rented.host_key,
            accept=lambda *_: False,
            identity_file=identity,
        )
        yield Login("records", rented.endpoint, identity, key)
    finally:
        local.release(record)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Of gpubox on that box, with nothing but `boxctl`."""
    place = tmp_path / "root"
    for name in ("bin", "lib", "controller/bin", "supervisor"):
        (place / name).mkdir(parents=True)
    shutil.copy(FILES / "boxctl.sh", place / "bin" / "boxctl")
    (place / "bin" / "boxctl").chmod(0o700)
    shutil.copytree(FILES / "boxctl", place / "lib" / "boxctl")
    (place / "controller" / "bin" / "python").symlink_to(sys.executable)
    return str(place)


def test_records_come_home_verified(login: Login, root: str, tmp_path: Path) -> None:
    there = tmp_path / "on the box"
    shutil.copytree(REAL, there)
    bring_home(login, root, str(there), tmp_path / "home")
    assert result.read(tmp_path / "home").levels == result.read(REAL).levels
    story._write(result.read(tmp_path / "home"))
    assert {path.name for path in (tmp_path / "home").iterdir()} == {
        "manifest.json",
        "c2.json",
        "summary.json",
        "table.md",
        "bench.png",
    }


def test_a_record_that_changed_after_it_was_written_is_refused(login: Login, root: str, tmp_path: Path) -> None:
    there = tmp_path / "on the box"
    shutil.copytree(REAL, there)
    record = there / "c2.json"
    record.write_text(record.read_text().replace("0.0", "0.1", 1))
    with pytest.raises(TransferFailed, match=r"c2.json: .*changed|c2.json: its bytes"):
        bring_home(login, root, str(there), tmp_path / "home")
    assert not (tmp_path / "home" / "manifest.json").exists()


def test_a_run_without_a_manifest_did_not_end(login: Login, root: str, tmp_path: Path) -> None:
    with pytest.raises(RemoteCommandFailed):
        bring_home(login, root, str(tmp_path), tmp_path / "home")


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({}, "starting"),
        ({"label": "warm up"}, "warm up"),
        ({"label": "concurrency 4", "done": 3, "total": 24, "unit": "requests"}, "concurrency 4: 3 of 24 requests"),
    ],
)
def test_progress_in_words(progress: dict[str, object], words: str) -> None:
    assert story._progress(progress) == words
