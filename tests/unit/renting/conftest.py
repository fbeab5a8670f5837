"""A simulated AutoDL account with boxes on paper, and the ledger of somebody who rents there, on one moved clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpubox import renting
from gpubox.boxfile import BoxFile
from gpubox.converge.progress import Board, Silent
from gpubox.ledger import Ledger
from gpubox.providers.autodl import AutodlProvider
from sim.autodl import TOKEN, autodl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from gpubox.ledger import BoxRecord
    from sim.autodl import Running

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPaperPaperPaperPaperPaperPaperPaperPaperPape"


class Notes(Silent):
    """Keeps what was said between the steps, and beside them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.details: list[str] = []

    def note(self, board: Board, text: str) -> None:
        """Kept."""
        self.notes.append(text)

    def changed(self, board: Board, step: object) -> None:
        """Kept, each once."""
        detail = f"{getattr(step, 'title', '')}: {getattr(step, 'detail', '')}"
        if detail not in self.details:
            self.details.append(detail)


@dataclass
class Renter:
    """Who rents. `notes` is what they were told."""

    sim: Running
    source: AutodlProvider
    ledger: Ledger
    notes: Notes = field(default_factory=Notes)

    @property
    def board(self) -> Board:
        """What shows it."""
        return Board(self.notes)

    def rent(self, name: str = "mybox", *, wait: timedelta | None = None, **wishes: object) -> BoxRecord:
        """`up`, as far as the first contact."""
        box = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D"}, **wishes})
        path = Path("/home/me/boxes/mybox.yml")
        return renting.rent(self.ledger, name, box, path, self.board, wait=wait, clock=self.sim.clock)

    def audits(self, action: str, name: str = "mybox") -> list[str]:
        """The outcomes of one kind of call."""
        return [audit.outcome for audit in self.ledger.audits(name) if audit.action == action]

    def boxes(self) -> list[str]:
        """The names of the boxes that the account has."""
        return [box.name for box in self.sim.account.live()]


@pytest.fixture
def renter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Renter]:
    """A new account, and an empty ledger. Nobody can log in to boxes on paper, so first contact is left out."""
    monkeypatch.setattr(renting, "first_contact", lambda *_args, **_words: HOST_KEY)
    monkeypatch.setattr(renting, "ensure_identity", lambda: tmp_path / "id")
    with autodl() as sim, Ledger(tmp_path / "ledger.sqlite3", now=sim.clock.now) as ledger:
        source = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
        monkeypatch.setattr(renting, "provider", lambda _name: source)
        yield Renter(sim, source, ledger)
