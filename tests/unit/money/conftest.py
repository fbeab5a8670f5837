"""Accounts in memory instead of those of this machine, and the command line in this process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gpubox import accounts
from gpubox.cli import main
from gpubox.ledger import Ledger
from gpubox.providers import provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.providers import Provider

    from .fakes import MemoryProvider


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """The one of this test."""
    with Ledger() as opened:
        yield opened


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`give(first, second)`: from now on these accounts are configured, and no others."""
    known: dict[str, MemoryProvider] = {}

    def one(name: str) -> Provider:
        return known[name] if name in known else provider(name)

    monkeypatch.setattr(accounts, "configured", lambda: list(known))
    for place in ("gpubox.asking.provider", "gpubox.sweep.provider"):
        monkeypatch.setattr(place, one)

    def of(*fakes: MemoryProvider) -> None:
        known.clear()
        known.update({fake.name: fake for fake in fakes})

    return of


@pytest.fixture
def gpubox(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`gpubox("sweep", "--json")` in this process."""

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["gpubox", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0, said.out, said.err)

    return run
