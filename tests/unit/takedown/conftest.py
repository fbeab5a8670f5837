"""The account and the ledger of `renting`'s tests, and `down` on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gpubox import down as story
from gpubox import power, renting, takedown_look
from gpubox.boxfile import BoxFile
from gpubox.converge.progress import Board, Silent
from gpubox.ledger import Ledger
from gpubox.providers.autodl import AutodlProvider
from sim.autodl import TOKEN, autodl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpubox.ledger import BoxRecord
    from gpubox.receipt import Receipt
    from gpubox.takedown import Plan
    from sim.autodl import Running

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPaperPaperPaperPaperPaperPaperPaperPaperPape"


class Words(Silent):
    """Keeps what was said between the steps."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, board: Board, text: str) -> None:
        """Kept."""
        self.notes.append(text)


@dataclass
class Owner:
    """Who has rented a box, and takes it down. `plans` is what they were asked about."""

    sim: Running
    source: AutodlProvider
    home: Path
    words: Words = field(default_factory=Words)
    plans: list[Plan] = field(default_factory=list)

    def ledger(self) -> Ledger:
        """The one that `down` opens."""
        return Ledger(self.home / "ledger.sqlite3", now=self.sim.clock.now)

    def rents(self, name: str = "mybox") -> BoxRecord:
        """A box that nobody has set anything up on."""
        box = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D"}})
        with self.ledger() as ledger:
            return renting.rent(ledger, name, box, self.home / "mybox.yml", Board(self.words), clock=self.sim.clock)

    def down(self, name: str = "mybox", *, agree: bool = True, discard: bool = False) -> Receipt:
        """`gpubox down`."""

        def confirm(plan: Plan) -> bool:
            self.plans.append(plan)
            return agree

        return story.down(
            name,
            board=Board(self.words),
            confirm=confirm,
            results=self.home / "receipts",
            discard=discard,
            clock=self.sim.clock,
        )

    def boxes(self) -> list[str]:
        """What the account has."""
        return [box.uuid for box in self.sim.account.live()]

    def known(self) -> BoxRecord | None:
        """The box in the ledger, unless it is released."""
        with self.ledger() as ledger:
            return ledger.find("mybox")


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    """A new account; nobody can log in to its boxes, which are on paper."""
    monkeypatch.setattr(renting, "first_contact", lambda *_args, **_words: HOST_KEY)
    monkeypatch.setattr(renting, "ensure_identity", lambda: tmp_path / "id")
    with autodl() as sim:
        source = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
        owner = Owner(sim, source, tmp_path)
        for module in (renting, story, power, takedown_look):
            monkeypatch.setattr(module, "provider", lambda _name: source)
        for module in (story, power, takedown_look):
            monkeypatch.setattr(module, "Ledger", owner.ledger)
        yield owner
