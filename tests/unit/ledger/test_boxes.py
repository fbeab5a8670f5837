"""Boxes in the ledger, as its callers see them."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from gpubox.errors import Failed, UnknownBox, UsageError
from gpubox.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def test_a_new_box_is_an_intent_on_the_disk_before_anything_is_rented(ledger: Ledger) -> None:
    record = ledger.add("demo", "local")
    assert record.state == "intended"
    with Ledger(ledger.path) as other:
        assert other.get("demo") == record


def test_every_field_comes_back_with_its_type(ledger: Ledger) -> None:
    written = ledger.add(
        "demo",
        "attach",
        provider_ref="pro-1",
        state="running",
        host="connect.westb.seetacloud.com",
        port=38076,
        user="root",
        proxy_jump="me@jump",
        host_key="ssh-ed25519 AAAA",
        identity_file=Path("/home/me/id"),
        box_file=Path("/home/me/boxes/demo.yml"),
        root="/root/autodl-tmp/gpubox",
        data_dir="/root/autodl-tmp",
        facts={"gpus": [{"name": "RTX 4090", "memory": 25757220864}], "note": "显卡"},
        digest="abc",
    )
    assert ledger.get("demo") == written
    assert isinstance(written.identity_file, Path)
    assert written.created_at.tzinfo == UTC
    assert abs(datetime.now(UTC) - written.created_at) < timedelta(minutes=5)


def test_an_update_changes_what_it_names_and_the_time(ledger: Ledger) -> None:
    before = ledger.add("demo", "attach", host="old", port=22, facts={"cpus": 4})
    after = ledger.update("demo", host="new", state="running", facts=None)
    assert after == ledger.get("demo")
    assert (after.host, after.port, after.state, after.facts) == ("new", 22, "running", None)
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_wrong_fields_are_a_defect_of_the_caller_and_change_nothing(ledger: Ledger) -> None:
    before = ledger.add("demo", "local")
    with pytest.raises(TypeError, match="colour"):
        ledger.update("demo", colour="black")
    with pytest.raises(TypeError, match="created_at"):
        ledger.update("demo", created_at=datetime.now(UTC))
    with pytest.raises(ValidationError):
        ledger.update("demo", state="lost", host="x")
    assert ledger.get("demo") == before


def test_a_name_is_one_live_box_and_free_again_after_its_release(ledger: Ledger) -> None:
    ledger.add("demo", "local", digest="first")
    with pytest.raises(UsageError, match="there is a box `demo` already"):
        ledger.add("demo", "local")
    assert ledger.update("demo", state="released").state == "released"
    assert ledger.find("demo") is None
    with pytest.raises(UnknownBox, match="the box `demo` was released"):
        ledger.get("demo")
    ledger.add("demo", "local", digest="second")
    assert ledger.get("demo").digest == "second"
    assert [box.digest for box in ledger.boxes()] == ["second"]
    assert [box.digest for box in ledger.boxes(include_released=True)] == ["first", "second"]


def test_an_unknown_box_names_the_nearest(ledger: Ledger) -> None:
    with pytest.raises(UnknownBox, match=r"there is no box `demo`$") as caught:
        ledger.get("demo")
    assert "no box is known yet" in str(caught.value.hint)
    ledger.add("demo", "local")
    ledger.add("big-one", "attach")
    for ask in (lambda: ledger.get("dmeo"), lambda: ledger.update("dmeo"), lambda: ledger.audit("dmeo", "x", "done")):
        with pytest.raises(UnknownBox, match="did you mean `demo`") as caught:
            ask()
        assert "big-one, demo" in str(caught.value.hint)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-rf", "my box", "a" * 41])
def test_a_name_that_cannot_be_a_directory_is_refused(name: str, ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a box"):
        ledger.add(name, "local")
    assert ledger.boxes() == []


def test_audits_are_kept_in_order_for_the_newest_box_of_a_name(ledger: Ledger) -> None:
    ledger.add("demo", "local")
    ledger.audit("demo", "create", "begun")
    ledger.audit("demo", "create", "failed", {"reason": "no stock", "path": Path("/x")})
    ledger.update("demo", state="released")
    ledger.audit("demo", "down", "done", {"files": 3})
    told = [(audit.action, audit.outcome, audit.detail) for audit in ledger.audits("demo")]
    assert told == [
        ("create", "begun", {}),
        ("create", "failed", {"reason": "no stock", "path": "/x"}),
        ("down", "done", {"files": 3}),
    ]
    assert all(audit.at.tzinfo is not None for audit in ledger.audits("demo"))
    ledger.add("demo", "local")
    assert ledger.audits("demo") == []


def test_secrets_never_reach_the_disk(ledger: Ledger) -> None:
    ledger.add("demo", "attach")
    ledger.audit(
        "demo",
        "add",
        "done",
        {
            "password": "hush-1",
            "rootPassword": "hush-2",
            "env": {"HF_TOKEN": "hush-3", "API_KEY": "hush-4", "PORT": "8000"},
            "tries": [{"client_secret": "hush-5"}],
            "key": {"private": "hush-6"},
            "max_new_tokens": 512,
            "host_key": "ssh-ed25519 AAAA",
            "token": None,
        },
    )
    (audit,) = ledger.audits("demo")
    assert audit.detail == {
        "password": "(hidden)",
        "rootPassword": "(hidden)",
        "env": {"HF_TOKEN": "(hidden)", "API_KEY": "(hidden)", "PORT": "8000"},
        "tries": [{"client_secret": "(hidden)"}],
        "key": "(hidden)",
        "max_new_tokens": 512,
        "host_key": "ssh-ed25519 AAAA",
        "token": None,
    }
    files = [path for path in ledger.path.parent.iterdir() if path.is_file()]
    assert not [path for path in files if b"hush" in path.read_bytes()]


def test_only_its_owner_may_read_the_ledger(ledger: Ledger) -> None:
    ledger.add("demo", "local")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger.path.parent.iterdir()}
    assert set(modes) >= {"ledger.sqlite3", "ledger.sqlite3-wal"}
    assert set(modes.values()) == {0o600}


def test_the_default_place_is_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "home"))
    with Ledger() as ledger:
        assert ledger.path == tmp_path / "home" / "ledger.sqlite3"
    monkeypatch.setenv("GPUBOX_HOME", "/dev/null/home")
    with pytest.raises(Failed, match="cannot make the directory"):
        Ledger()
