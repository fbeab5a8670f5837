"""Where the secrets of web UIs are kept on this machine."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from gpubox import web_ui_secrets
from gpubox.errors import AuthFailed
from gpubox.paths import box_dir
from gpubox.web_ui_secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINE = Secrets("mine", "key")


class Memory(KeyringBackend):
    """A keyring that forgets at the end, and may be locked."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        """What it keeps."""
        self._open()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        self._open()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
        self._open()
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError(username)

    def _open(self) -> None:
        if self.locked:
            raise KeyringLocked("nobody unlocked it")


@pytest.fixture
def memory() -> Iterator[Memory]:
    before, mine = keyring.get_keyring(), Memory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def file_of(name: str) -> Path:
    return box_dir(name) / "web-ui.json"


def test_without_a_keyring_they_lie_in_a_file_of_ours() -> None:
    assert web_ui_secrets.of("mybox") is None
    made, new = web_ui_secrets.ensure("mybox")
    assert new
    assert (len(made.password) >= 24, len(made.secret_key) >= 60) == (True, True)
    assert stat.S_IMODE(file_of("mybox").stat().st_mode) == 0o600
    assert web_ui_secrets.ensure("mybox") == (made, False)
    assert web_ui_secrets.of("mybox") == made
    assert web_ui_secrets.ensure("other")[0].password != made.password
    assert made.password not in repr(made)
    web_ui_secrets.replace("mybox", MINE)
    assert web_ui_secrets.of("mybox") == MINE


def test_with_a_keyring_no_file_has_them(memory: Memory) -> None:
    made, new = web_ui_secrets.ensure("mybox")
    assert new
    assert not file_of("mybox").exists()
    assert [name for _, name in memory.entries if name.startswith("web-ui-mybox-")]
    assert web_ui_secrets.ensure("mybox") == (made, False)


def test_a_locked_keyring_is_passed_over_and_what_was_written_meanwhile_wins(memory: Memory) -> None:
    web_ui_secrets.ensure("mybox")
    memory.locked = True
    web_ui_secrets.replace("mybox", MINE)
    assert web_ui_secrets.of("mybox") == MINE
    memory.locked = False
    assert web_ui_secrets.of("mybox") == MINE
    web_ui_secrets.replace("mybox", MINE)
    assert not file_of("mybox").exists()
    assert web_ui_secrets.of("mybox") == MINE


def test_two_ledgers_have_two_entries(memory: Memory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, _ = web_ui_secrets.ensure("mybox")
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "another"))
    second, new = web_ui_secrets.ensure("mybox")
    assert new
    assert first.password != second.password
    assert len(memory.entries) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"password": "hunter2"}', '["hunter2"]', "\xff"])
def test_what_we_did_not_write_is_named_and_not_shown(text: str) -> None:
    file_of("mybox").write_bytes(text.encode("latin-1"))
    file_of("mybox").chmod(0o600)
    with pytest.raises(AuthFailed, match="web UI of `mybox`") as refused:
        web_ui_secrets.ensure("mybox")
    assert "gpubox open mybox --set-password" in str(refused.value.hint)
    assert "hunter2" not in str(refused.value)
    web_ui_secrets.set_password("mybox", "mine")
    kept = web_ui_secrets.of("mybox")
    assert kept is not None
    assert (kept.password, len(kept.secret_key) >= 60) == ("mine", True)
    web_ui_secrets.set_password("mybox", "another")
    assert web_ui_secrets.of("mybox") == Secrets("another", kept.secret_key)


def test_a_file_that_others_may_read_is_refused() -> None:
    web_ui_secrets.ensure("mybox")
    file_of("mybox").chmod(0o644)
    with pytest.raises(AuthFailed, match="other users of this machine"):
        web_ui_secrets.of("mybox")
