"""Where the keys of accounts come from: environment, keyring, file, in that order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from gpubox import accounts
from gpubox.accounts import AUTODL_TOKEN, COMPSHARE_PRIVATE_KEY, Credential
from gpubox.errors import AuthFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLES = [item.variable for needed in accounts.NEEDED.values() for item in needed]


class Memory(KeyringBackend):
    """A keyring that a test fills."""

    priority = 5

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("it is locked")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Memory]:
    for variable in [*VARIABLES, "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    before = keyring.get_keyring()
    backend = Memory()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def write(credential: Credential, text: str, mode: int = 0o600) -> Path:
    path = accounts.file_of(credential)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_environment_comes_first_then_the_keyring_then_the_file(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts.find(AUTODL_TOKEN) is None
    write(AUTODL_TOKEN, "from-the-file\n")
    assert accounts.secret(AUTODL_TOKEN) == "from-the-file"
    memory.set_password("gpubox", "autodl-token", "from-the-keyring")
    assert accounts.secret(AUTODL_TOKEN) == "from-the-keyring"
    monkeypatch.setenv("AUTODL_TOKEN", "from-the-environment")
    assert accounts.secret(AUTODL_TOKEN) == accounts.find(AUTODL_TOKEN) == "from-the-environment"
    monkeypatch.setenv("AUTODL_TOKEN", " ")
    assert accounts.secret(AUTODL_TOKEN) == "from-the-keyring"


def test_a_missing_key_is_told_with_all_three_places(memory: Memory) -> None:
    with pytest.raises(AuthFailed, match="no private key of the `compshare` account") as caught:
        accounts.secret(COMPSHARE_PRIVATE_KEY)
    hint = str(caught.value.hint)
    assert "`COMPSHARE_PRIVATE_KEY`" in hint
    assert "`keyring set gpubox compshare-private-key`" in hint
    assert str(accounts.file_of(COMPSHARE_PRIVATE_KEY)) in hint
    assert "keyring cannot be read" not in caught.value.message
    memory.locked = True
    with pytest.raises(AuthFailed, match="the keyring cannot be read: it is locked"):
        accounts.secret(COMPSHARE_PRIVATE_KEY)
    write(COMPSHARE_PRIVATE_KEY, "k")
    assert accounts.secret(COMPSHARE_PRIVATE_KEY) == "k"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(mode: int) -> None:
    path = write(AUTODL_TOKEN, "hush", mode)
    for ask in (accounts.find, accounts.secret):
        with pytest.raises(AuthFailed, match="other users of this machine") as caught:
            ask(AUTODL_TOKEN)
        assert f"chmod 600 {path}" in str(caught.value.hint)
        assert "hush" not in caught.value.message + str(caught.value.hint)
    assert accounts.configured() == ["autodl"]


def test_what_is_no_key_is_refused_without_showing_it(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        with pytest.raises(AuthFailed, match="is not a key") as caught:
            accounts.secret(AUTODL_TOKEN)
        assert "hush" not in f"{caught.value.message}{caught.value.hint}{caught.value.where}"
        return caught.value.message

    path = write(AUTODL_TOKEN, "hush\nhush")
    assert str(path) in refused()
    memory.set_password("gpubox", "autodl-token", "hush hush")
    assert "keyring" in refused()
    monkeypatch.setenv("AUTODL_TOKEN", "hush密")
    assert "AUTODL_TOKEN" in refused()


def test_a_directory_in_its_place_is_told() -> None:
    accounts.file_of(AUTODL_TOKEN).mkdir(parents=True)
    with pytest.raises(AuthFailed, match="cannot be read: Is a directory"):
        accounts.find(AUTODL_TOKEN)


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (None, "", []),
        ("gpubox:autodl-token", "x", ["autodl"]),
        ("gpubox:compshare-public-key", "x", ["compshare"]),
        ("gpubox:ec2-access-key-id", "x", ["ec2"]),
        ("AWS_SHARED_CREDENTIALS_FILE", "[default]\naws_access_key_id = x\n", ["ec2"]),
        ("AWS_CONFIG_FILE", "[profile work]\nsso_session = x\n", ["ec2"]),
        ("AWS_CONFIG_FILE", "[default]\nregion = x\n", []),
        ("AWS_CONFIG_FILE", "no section\n", ["ec2"]),
    ],
    ids=["none", "keyring", "half", "ec2-keyring", "aws-credentials", "aws-sso", "aws-region-only", "aws-broken"],
)
def test_configured_accounts(place: str | None, text: str, expected: list[str], memory: Memory) -> None:
    if place is not None and ":" in place:
        service, user = place.split(":")
        memory.set_password(service, user, text)
    elif place is not None:
        Path(os.environ[place]).write_text(text)
    assert accounts.configured() == expected


@pytest.mark.parametrize(
    "backend", [None, "keyring.backends.fail.Keyring", "no.such.module", "keyring.backends.fail.None", "nonsense", ""]
)
def test_a_machine_without_a_keyring_is_well_and_quiet(backend: str | None, tmp_path: Path) -> None:
    program = "from gpubox import accounts; print(accounts.find(accounts.AUTODL_TOKEN))"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GPUBOX_HOME": str(tmp_path / "home"),
        **({} if backend is None else {"PYTHON_KEYRING_BACKEND": backend}),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


def test_the_environment_needs_no_keyring(tmp_path: Path) -> None:
    program = """
import sys
from gpubox import accounts
accounts.secret(accounts.AUTODL_TOKEN)
print("keyring" in sys.modules)
"""
    environment = {"GPUBOX_HOME": str(tmp_path), "AUTODL_TOKEN": "x", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    assert done.stdout == "False\n"
