"""A box that can only end, as spot boxes are, and that turns out dearer than the box file allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox import renting
from gpubox.errors import CannotStop, Refused
from gpubox.providers.autodl import AutodlProvider
from sim.autodl import TOKEN

if TYPE_CHECKING:
    from gpubox.ledger import BoxRecord

    from .conftest import Renter

# AutoDL tells no price beforehand; this is below what such a card costs.
CAP = 1.5


class Spot(AutodlProvider):
    """Rents what cannot be powered off, and is released while it runs."""

    def power_off(self, record: BoxRecord) -> None:
        """Never."""
        raise CannotStop("a spot box cannot be stopped", where=record.name, hint="give it back")

    def release(self, record: BoxRecord) -> None:
        """At once."""
        AutodlProvider.power_off(self, record)
        super().release(record)


@pytest.fixture
def spot(renter: Renter, monkeypatch: pytest.MonkeyPatch) -> Renter:
    source = Spot(clock=renter.sim.clock, url=renter.sim.url, token=TOKEN)
    monkeypatch.setattr(renting, "provider", lambda _name: source)
    # Its list has no price, as on the day that it opened.
    monkeypatch.setattr("gpubox.prices.asked", lambda *_: None)
    return renter


def test_it_is_given_back_at_once(spot: Renter) -> None:
    with pytest.raises(Refused, match=r"more than `max_price: 1.5`; it cannot be powered off, so it was given back"):
        spot.rent(max_price=CAP)
    assert spot.boxes() == []
    assert spot.sim.account.billing() == []
    assert spot.ledger.find("mybox") is None
    assert [spot.audits(action)[-1] for action in ("power_off", "release", "gone")] == ["failed", "done", "done"]
    # And the name is free again.
    assert spot.rent(max_price=3).state == "running"


def test_one_that_has_been_set_up_is_never_given_back(spot: Renter) -> None:
    spot.rent()
    spot.ledger.update("mybox", root="/root/autodl-tmp/gpubox", host=None, port=None)
    with pytest.raises(CannotStop, match="is not off, and bills"):
        spot.rent(max_price=CAP)
    assert len(spot.boxes()) == 1
    assert "release" not in spot.sim.server.operations()


def test_one_that_somebody_else_made_is_never_given_back(spot: Renter) -> None:
    with spot.sim.account.lock:
        made = spot.sim.account.create("by hand", "4090D", 1, "westDC3", "")
    spot.sim.clock.advance(60)
    spot.ledger.add("mybox", "autodl", provider_ref=made.uuid, state="running")
    with pytest.raises(CannotStop):
        spot.rent(max_price=CAP)
    assert len(spot.boxes()) == 1
