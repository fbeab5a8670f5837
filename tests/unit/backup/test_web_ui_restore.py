"""Whether a backup's web UI may go onto a box: decided from what the box tells, before anything is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from gpubox import web_ui_restore, web_ui_secrets
from gpubox.errors import Failed, Refused, RemoteCommandFailed
from gpubox.history import about as history

if TYPE_CHECKING:
    from gpubox.remote.transfer_session import Session

OLD = Path(__file__).resolve().parents[2] / "keeping/fixtures/web-ui-0.11.4"


class Box:
    """Tells what it was given to tell."""

    def __init__(self, **answer: object) -> None:
        self._answer = answer
        self.asked: list[dict[str, Any]] = []

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """One answer."""
        self.asked.append(request)
        if "error" in self._answer:
            raise RemoteCommandFailed(str(self._answer["error"]), where="mybox")
        return self._answer


def session(**answer: object) -> Session:
    return cast("Session", Box(**answer))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A backup of an open-webui 0.11.4."""
    files = tmp_path / "files"
    (files / history.DATABASE).parent.mkdir(parents=True)
    (files / history.DATABASE).write_bytes(gzip.decompress((OLD / "webui.db.gz").read_bytes()))
    return tmp_path


def of_version(place: Path, version: str) -> None:
    (place / "files" / history.VERSION).write_text(json.dumps({"open_webui": version, "alembic": "d4c1a8e37b62"}))


HERE = {"service": "open-webui", "open_webui": "0.12.4", "fits": True, "users": 1, "chats": 0}


@pytest.mark.parametrize("version", [None, "0.9.10", "0.12.3", "0.12.4"])
def test_the_same_and_older_ones_are_taken(place: Path, version: str | None) -> None:
    if version is not None:
        of_version(place, version)
    found = web_ui_restore.look("mybox", place, session(**HERE))
    assert found is not None
    assert (found.service, found.there, found.blank) == ("open-webui", "0.12.4", True)
    used = web_ui_restore.look("mybox", place, session(**HERE | {"users": 2}))
    assert used is not None
    assert not used.blank


@pytest.mark.parametrize(
    ("version", "here", "words", "hint"),
    [
        ("0.12.10", HERE, "by open-webui 0.12.10, and `mybox` has open-webui 0.12.4", "pip install --upgrade gpubox"),
        ("0.12.4", HERE | {"open_webui": "0.12.3"}, "and `mybox` has open-webui 0.12.3", "`gpubox up mybox` brings"),
        (None, HERE | {"fits": False}, r"by a newer open-webui \(tables d4c1a8e37b62\)", "pip install --upgrade"),
        ("99.0", {"service": None}, "`gpubox up mybox` would bring open-webui 0", "pip install --upgrade"),
    ],
)
def test_a_newer_one_is_refused(place: Path, version: str | None, here: dict[str, Any], words: str, hint: str) -> None:
    if version is not None:
        of_version(place, version)
    with pytest.raises(Refused, match=words) as caught:
        web_ui_restore.look("mybox", place, session(**here))
    assert hint in str(caught.value.hint)


def test_a_box_without_one_may_get_it(place: Path) -> None:
    found = web_ui_restore.look("mybox", place, session(service=None))
    assert found is not None
    assert (found.service, found.there, found.blank) == (None, web_ui_restore.pinned(), False)
    (place / "files" / history.DATABASE).unlink()
    silent = Box()
    assert web_ui_restore.look("mybox", place, cast("Session", silent)) is None
    assert silent.asked == []


def test_secrets_of_the_backup_are_kept_here(place: Path) -> None:
    web_ui_restore.keep_secrets("mybox", place)
    assert web_ui_secrets.of("mybox") is None
    (place / "files" / history.ADMIN_PASSWORD).write_text("of-the-admin\n")
    (place / "files" / history.SECRET_KEY).write_text("of-sessions")
    web_ui_restore.keep_secrets("mybox", place)
    assert web_ui_secrets.of("mybox") == web_ui_secrets.Secrets("of-the-admin", "of-sessions")


def test_what_is_not_proved_is_an_error() -> None:
    with pytest.raises(Failed, match="does not work with them: the last chat of `a` is gone") as caught:
        web_ui_restore.prove("mybox", session(error="the last chat of `a` is gone"))
    assert "gpubox logs mybox open-webui" in str(caught.value.hint)
    proved = {"admin": "a@b.c", "users": 1, "chats": 0, "proved": 0}
    assert web_ui_restore.words(proved) == "`a@b.c` signs in; there is no chat in it (users: 1, chats: 0)"
