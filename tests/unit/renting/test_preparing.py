"""`prepare: without-gpu`: the order of power changes, what it saves, and what becomes of one that is cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox import preparing, renting
from gpubox.boxfile import BoxFile
from gpubox.converge.progress import Board
from gpubox.errors import ConvergeFailed, NoStock, PreflightBlocked
from gpubox.ledger import Ledger
from gpubox.providers.compshare import CompshareProvider
from sim.compshare import KEYS, compshare

from .conftest import HOST_KEY, Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpubox.ledger import BoxRecord
    from sim.compshare import Running

    from .conftest import Renter


@dataclass
class Preparer:
    """A rented box of CompShare that is to be prepared.

    `cards`: whether it had its GPU whenever something ran. `fails`: what is raised there; `last`: called before the
    box gets its GPU again.
    """

    sim: Running
    source: CompshareProvider
    ledger: Ledger
    notes: Notes = field(default_factory=Notes)
    cards: list[tuple[str, bool]] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)
    last: Callable[[], object] | None = None

    def __call__(self) -> BoxRecord:
        """Prepare it."""

        def fetch(record: BoxRecord) -> None:
            self._ran("fetch", record)

        return preparing.prepare(
            self.ledger,
            self.ledger.get("mybox"),
            self.source,
            Board(self.notes),
            look=lambda record: self._ran("look", record),
            fetch=fetch,
            clock=self.sim.clock,
        )

    def has_gpu(self) -> bool:
        """Now."""
        (box,) = self.sim.account.boxes.values()
        return box.state == "Running" and not box.without_gpu

    def progress(self) -> str:
        """As the ledger has it."""
        return preparing.progress(self.ledger.audits("mybox"))

    def _ran(self, what: str, record: BoxRecord) -> BoxRecord:
        self.cards.append((what, self.has_gpu()))
        if what == "fetch" and self.last is not None:
            self.last()
        if what in self.fails:
            raise self.fails[what]
        return record


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Preparer]:
    """Its box is rented, and runs with its GPU."""
    monkeypatch.setattr(renting, "first_contact", lambda *_args, **_words: HOST_KEY)
    monkeypatch.setattr(renting, "ensure_identity", lambda: tmp_path / "id")
    with compshare() as sim, Ledger(tmp_path / "ledger.sqlite3", now=sim.clock.now) as ledger:
        source = CompshareProvider(clock=sim.clock, url=sim.url, keys=KEYS)
        monkeypatch.setattr(renting, "provider", lambda _name: source)
        box = BoxFile.model_validate({"provider": "compshare", "gpu": {"name": "4090"}})
        preparer = Preparer(sim, source, ledger)
        renting.rent(ledger, "mybox", box, tmp_path / "mybox.yml", Board(preparer.notes), clock=sim.clock)
        yield preparer


def test_downloads_run_without_the_gpu_and_the_box_ends_with_it(prepare: Preparer) -> None:
    dear = prepare.ledger.get("mybox").price_per_hour
    record = prepare()
    assert prepare.cards == [("look", True), ("fetch", False)]
    assert prepare.has_gpu()
    assert (record.state, record.price_per_hour) == ("running", dear)
    # The time without the GPU was reckoned at its own price.
    (bill,) = prepare.ledger.bills()
    assert Decimal("0.15") in [rate.per_hour for rate in bill.rates]
    assert prepare.progress() == "done"
    prepare()
    assert len(prepare.cards) == 2


def test_a_box_that_cannot_become_what_it_shall_be_is_told_before_anything(prepare: Preparer) -> None:
    prepare.fails["look"] = PreflightBlocked("no")
    with pytest.raises(PreflightBlocked):
        prepare()
    assert prepare.has_gpu()
    assert prepare.progress() == "not begun"


def test_downloads_that_fail_are_left_to_the_converge(prepare: Preparer) -> None:
    prepare.fails["fetch"] = ConvergeFailed("out of memory")
    prepare()
    assert prepare.has_gpu()
    assert any("downloads go on with the GPU: out of memory" in note for note in prepare.notes.notes)


def test_one_that_was_cut_off_goes_on(prepare: Preparer) -> None:
    prepare.fails["fetch"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        prepare()
    assert not prepare.has_gpu()
    assert prepare.progress() == "begun"
    prepare.fails.clear()
    prepare()
    assert prepare.cards == [("look", True), ("fetch", False), ("fetch", False)]
    assert prepare.has_gpu()


def test_without_a_card_afterwards_it_is_off_and_prepared(prepare: Preparer) -> None:
    prepare.last = prepare.sim.faults.no_stock
    with pytest.raises(NoStock, match="stays off with everything on its disk"):
        prepare()
    assert prepare.ledger.get("mybox").state == "stopped"
    assert prepare.progress() == "done"


def test_a_provider_that_cannot_says_so_and_goes_on(renter: Renter) -> None:
    record = renter.rent()
    board = Board(renter.notes)

    def look(_record: BoxRecord) -> BoxRecord:
        raise AssertionError

    def fetch(_record: BoxRecord) -> None:
        raise AssertionError

    assert preparing.prepare(renter.ledger, record, renter.source, board, look=look, fetch=fetch) == record
    assert any("`autodl` cannot start a box without its GPU" in note for note in renter.notes.notes)
