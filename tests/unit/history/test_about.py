"""What a copied database is said to hold: of the real open-webui 0.11.4, and of what is none."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpubox import backups
from gpubox.backup.web_ui import count
from gpubox.errors import Failed
from gpubox.history import about as history

OLD = Path(__file__).resolve().parents[2] / "keeping/fixtures/web-ui-0.11.4"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`files/` of a backup with that web UI in it."""
    files = tmp_path / "files"
    (files / history.UPLOADS).mkdir(parents=True)
    (files / history.DATABASE).write_bytes(gzip.decompress((OLD / "webui.db.gz").read_bytes()))
    shutil.copy(OLD / "version.json", files / history.VERSION)
    for upload in OLD.glob("*_note.txt"):
        shutil.copy(upload, files / history.UPLOADS)
    return files


def test_it_is_counted_and_said(files: Path) -> None:
    found = history.in_backup(files)
    assert (found.version, found.alembic) == ("0.11.4", "d4c1a8e37b62")
    assert (found.users, found.chats, found.messages, found.rows["file"]) == (3, 2, 6, 1)
    assert found.words().startswith("3 users, 2 chats, 6 messages, the last at 20")
    assert history.About.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert sorted(path.name for path in (files / "open-webui/data").iterdir()) == ["uploads", "webui.db"]


def test_it_is_kept_with_the_backup(files: Path, tmp_path: Path) -> None:
    counted = count(tmp_path, files)
    assert counted.notes == ()
    assert history.kept_with(tmp_path) == counted.about == history.in_backup(files)
    manifest = backups.Manifest("mybox", "2026-11-22T00:00:00+00:00", "/r", "/", "/root", (), (), (), counted.beside)
    backups.write(tmp_path, manifest)
    assert backups.verify(tmp_path) == (manifest, ())
    kept = tmp_path / history.ABOUT
    kept.chmod(0o600)
    kept.write_text(kept.read_text().replace('"chats": 2', '"chats": 3'))
    with pytest.raises(Failed, match=r"web-ui\.json: its SHA-256 differs"):
        backups.checked(tmp_path)


def test_an_upload_that_did_not_come_is_named(files: Path, tmp_path: Path) -> None:
    for upload in (files / history.UPLOADS).iterdir():
        upload.unlink()
    (note,) = count(tmp_path, files).notes
    assert "1 file that was uploaded" in note
    assert note.endswith("note.txt")


def test_what_is_no_database_is_said_and_kept(files: Path, tmp_path: Path) -> None:
    (files / history.DATABASE).write_bytes(b"SQLite format 3\0" + bytes(496))
    counted = count(tmp_path, files)
    assert (counted.about, counted.beside) == (None, ())
    assert "cannot be read as the database of a web UI" in counted.notes[0]
    assert history.kept_with(tmp_path) is None


@pytest.mark.parametrize("stamp", [1795383374, 1795383374000, 1795383374000000000])
def test_times_of_three_kinds(stamp: int) -> None:
    assert history.moment(stamp) == datetime.fromtimestamp(1795383374, UTC)
