"""A box that is not where the ledger has it: asked for at its provider, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox import reach as reaching
from gpubox.errors import Failed, HostKeyChanged, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers.greeting import greets
from gpubox.reach import reach

if TYPE_CHECKING:
    from gpubox.ledger import BoxRecord

    from .conftest import Renter


@pytest.fixture
def rented(renter: Renter, monkeypatch: pytest.MonkeyPatch) -> BoxRecord:
    """A box that runs, and whose server can be asked."""
    monkeypatch.setattr(reaching, "provider", lambda _name: renter.source)
    monkeypatch.setattr(reaching, "Ledger", lambda: Ledger(renter.ledger.path, now=renter.sim.clock.now))
    record = renter.rent()
    renter.sim.server.calls.clear()
    return record


def log_in(record: BoxRecord) -> int | None:
    """A login, as far as boxes on paper have one: the port where it was."""
    if not greets(record.host or "", record.port or 0, 2):
        raise Unreachable("nobody is there", where=record.name)
    return record.port


def restart(renter: Renter, record: BoxRecord) -> None:
    """In its provider's console."""
    renter.source.power_off(record)
    renter.source.power_on(record)
    renter.sim.clock.advance(60)
    renter.sim.server.calls.clear()


def test_a_box_that_answers_costs_no_call(renter: Renter, rented: BoxRecord) -> None:
    assert reach(rented, log_in) == rented.port
    assert renter.sim.server.calls == []


def test_a_box_that_was_restarted_elsewhere_is_found(renter: Renter, rented: BoxRecord) -> None:
    restart(renter, rented)
    said: list[str] = []
    port = reach(rented, log_in, said.append)
    assert port != rented.port
    assert renter.ledger.get("mybox").port == port
    assert said == [f"`mybox` answers at root@127.0.0.1:{port} now"]
    assert renter.sim.server.operations() == ["status", "snapshot"]


def test_a_port_that_is_another_boxes_now(renter: Renter, rented: BoxRecord) -> None:
    """A gateway gives it to whoever comes next; that box has a host key of its own."""
    restart(renter, rented)

    def other(record: BoxRecord) -> int | None:
        if record.port == rented.port:
            raise HostKeyChanged("the host key has changed", where=record.name)
        return log_in(record)

    assert reach(rented, other) == renter.ledger.get("mybox").port


def test_what_it_shows_where_its_provider_has_it_is_believed(renter: Renter, rented: BoxRecord) -> None:
    """Nobody but a person says that another host key of the same box is right."""
    tried: list[int | None] = []

    def changed(record: BoxRecord) -> None:
        tried.append(record.port)
        raise HostKeyChanged("the host key has changed", where=record.name)

    with pytest.raises(HostKeyChanged):
        reach(rented, changed)
    assert tried == [rented.port]


def test_a_box_that_is_off_is_told_as_off(renter: Renter, rented: BoxRecord) -> None:
    renter.source.power_off(rented)
    with pytest.raises(Unreachable, match="is powered off") as off:
        reach(rented, log_in)
    assert off.value.hint == "gpubox start mybox"
    assert renter.ledger.get("mybox").state == "stopped"


def test_a_box_that_is_gone_is_told_as_gone(renter: Renter, rented: BoxRecord) -> None:
    renter.source.power_off(rented)
    renter.source.release(rented)
    with pytest.raises(Failed, match="no longer has the box") as gone:
        reach(rented, log_in)
    assert "gpubox down mybox" in str(gone.value.hint)


def test_when_its_provider_does_not_answer_either(renter: Renter, rented: BoxRecord) -> None:
    restart(renter, rented)
    renter.sim.faults.http("status", times=1 << 30, status=503)
    with pytest.raises(Unreachable, match="nobody is there; nor can `autodl` say where it is"):
        reach(rented, log_in)
    assert renter.ledger.get("mybox").port == rented.port


def test_what_goes_wrong_on_the_box_is_not_looked_for_elsewhere(renter: Renter, rented: BoxRecord) -> None:
    def broken(record: BoxRecord) -> None:
        raise Failed("a disk is full", where=record.name)

    with pytest.raises(Failed, match="a disk is full"):
        reach(rented, broken)
    assert renter.sim.server.calls == []
