"""Following a converge on a box that does not answer any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.converge import run
from gpubox.errors import ConvergeFailed, Unreachable
from gpubox.remote.login import Endpoint, Login
from gpubox.remote.ports import next_free

if TYPE_CHECKING:
    from pathlib import Path

# A key that nobody asks for: nothing listens.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8KkZ1dCqB3WqJ0Y3pXnZ0m8rQ1qJ0Y3pXnZ0m8rQ1q"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Of a box that is off: its port refuses."""
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path))
    monkeypatch.setattr(run, "_BACKOFF", (0.01,))
    identity = tmp_path / "key"
    identity.touch()
    return Login("mybox", Endpoint("127.0.0.1", next_free(40000, set()), "root"), identity, KEY)


def follow(login: Login, heard: list[str | None], *, off: bool, patience: float = 60.0) -> None:
    run.follow(
        login, "/root/x", "run-1", on_change=lambda _: None, on_link=heard.append, is_off=lambda: off, patience=patience
    )


def test_a_box_that_is_off_is_waited_for_no_longer(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_ASK_AFTER", 0.1)
    heard: list[str | None] = []
    with pytest.raises(ConvergeFailed) as caught:
        follow(login, heard, off=True)
    assert "went off" in caught.value.message
    assert "it then bills again" in (caught.value.hint or "")
    # A link that is lost for a moment is no reason to ask.
    assert heard


def test_a_box_of_which_nobody_knows_is_waited_for(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_ASK_AFTER", 0.1)
    heard: list[str | None] = []
    with pytest.raises(Unreachable) as caught:
        follow(login, heard, off=False, patience=0.5)
    assert "gpubox watch mybox" in (caught.value.hint or "")
    assert len(heard) > 1
