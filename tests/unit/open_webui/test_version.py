"""A database against the open-webui that is installed: refused, copied before it changes, its uploads found again."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from unit.open_webui.conftest import REVISIONS, install
from webui_box import version
from webui_box.errors import Trouble
from webui_box.prepare import prepare
from webui_box.rehome import rehome

# Of the real open-webui 0.11.4.
OLD = Path(__file__).resolve().parents[2] / "keeping/fixtures/web-ui-0.11.4"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What 0.11.4 has left, with its upload."""
    place = tmp_path / "open-webui"
    (place / "data/uploads").mkdir(parents=True)
    (place / "data/webui.db").write_bytes(gzip.decompress((OLD / "webui.db.gz").read_bytes()))
    shutil.copy(OLD / "version.json", place)
    for upload in OLD.glob("*_note.txt"):
        shutil.copy(upload, place / "data/uploads")
    return place


def column(database: Path, query: str) -> list[object]:
    with contextlib.closing(sqlite3.connect(database)) as base:
        return [row[0] for row in base.execute(query)]


def migrate(place: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(place / "data/webui.db")) as base, base:
        base.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_an_older_database_is_copied_before_it_changes(place: Path, tmp_path: Path) -> None:
    (place / "before-0.10.2").mkdir()
    command = install(tmp_path / "env")
    prepare(place, str(command))
    kept = place / "before-0.11.4/webui.db"
    assert column(kept, "SELECT count(*) FROM chat") == [2]
    assert not (place / "before-0.10.2").exists()
    # Not yet: whoever looks now sees what the database still is.
    assert json.loads((place / "version.json").read_text())["open_webui"] == "0.11.4"
    migrate(place, REVISIONS[-1])
    kept.write_bytes(b"as it was")
    prepare(place, str(command))
    assert json.loads((place / "version.json").read_text()) == {"open_webui": "0.12.4", "alembic": REVISIONS[-1]}
    assert kept.read_bytes() == b"as it was"


def test_a_start_that_ended_half_way_leaves_the_copy_of_before(place: Path, tmp_path: Path) -> None:
    program = version.Program.at(install(tmp_path / "env"))
    assert version.keep_before(place, program) == place / "before-0.11.4"
    migrate(place, REVISIONS[1])
    # `version.json` is of another state: it is not taken for that of this one.
    assert version.keep_before(place, program) == place / f"before-{REVISIONS[1]}"


def test_a_newer_database_is_refused_with_both_versions(place: Path, tmp_path: Path) -> None:
    command = install(tmp_path / "env", "0.11.3", REVISIONS[:1])
    migrate(place, REVISIONS[1])
    before = (place / "data/webui.db").read_bytes()
    with pytest.raises(Trouble, match=r"a newer open-webui \(its tables are of revision c92da83b017f\).* 0\.11\.3"):
        prepare(place, str(command))
    (place / "version.json").write_text(json.dumps({"open_webui": "0.12.1", "alembic": REVISIONS[1]}))
    with pytest.raises(Trouble, match=r"last used by open-webui 0\.12\.1 .* cannot go back to open-webui 0\.11\.3"):
        prepare(place, str(command))
    assert (place / "data/webui.db").read_bytes() == before
    assert not list(place.glob("*before*"))


def test_nothing_is_asked_of_what_is_not_there(tmp_path: Path) -> None:
    prepare(tmp_path, str(install(tmp_path / "env")))
    assert not (tmp_path / "version.json").exists()
    with pytest.raises(Trouble, match="no open-webui is installed"):
        prepare(tmp_path, str(tmp_path / "elsewhere/bin/open-webui"))


def test_uploads_that_moved_are_found_again(place: Path) -> None:
    database = place / "data/webui.db"
    (path,) = column(database, "SELECT path FROM file")
    assert str(path).startswith("/old/gpubox/open-webui/data/uploads/")
    with contextlib.closing(sqlite3.connect(database)) as base, base:
        base.execute("INSERT INTO file (id, path) VALUES ('gone', '/old/uploads/gone.txt'), ('far', 's3://b/note.txt')")
    assert rehome(place) == 1
    here = {str(place / "data/uploads" / Path(str(path)).name), "/old/uploads/gone.txt", "s3://b/note.txt"}
    assert set(column(database, "SELECT path FROM file")) == here
    assert rehome(place) == 0
