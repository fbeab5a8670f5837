"""`offers`, `sweep` and `doctor` over HTTP, against the simulated AutoDL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import Unreachable
from gpubox.ledger import Ledger
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Order
from sim.autodl import Running, autodl
from sim.clock import SimClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Done

BOX = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D", "count": 2}})
ORDER = "gpubox-lost-0a1b2c3d"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The only account; a second here is two minutes there."""
    with autodl(clock=SimClock(rate=120.0)) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def rent(sim: Running, name: str) -> str:
    """A box that runs and bills."""
    ref = AutodlProvider().create(Order(name, BOX, timedelta(hours=1)))
    sim.clock.advance(minutes=5)
    return ref


def test_offers(sim: Running, gpubox: Callable[..., Done]) -> None:
    done = gpubox("offers", "--gpu", "4090d", "--ram", "480GB", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["offers"]
    assert {(offer["gpu_count"], offer["ram_gib"], offer["unsure"][0:1] == []) for offer in found} == {(4, 480, True)}
    assert gpubox("offers", "--gpu", "4090D", "--max-price", "0.5").code == 5


def test_sweep_finds_and_releases_what_the_ledger_does_not_know(sim: Running, gpubox: Callable[..., Done]) -> None:
    assert gpubox("sweep").code == 0
    ref = rent(sim, ORDER)
    done = gpubox("sweep", "--json")
    assert done.code == 3, done.err
    (box,) = json.loads(done.out)["boxes"]
    assert (box["ref"], box["mark"], box["per_hour"], box["gpu_count"]) == (f"autodl:{ref}", "forgotten", "3.76", 2)
    done = gpubox("sweep", "--release", ref, "--yes")
    assert done.code == 0, done.err
    assert sim.account.live() == []
    assert gpubox("sweep").code == 0
    with Ledger() as ledger:
        assert [audit.action for audit in ledger.audits("lost")][-1] == "gone"


def test_a_release_that_autodl_lies_about_is_code_3(
    sim: Running, gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubox.releasing.UNTIL_GONE", 0.5)
    ref = rent(sim, ORDER)
    sim.faults.lie("release", times=100)
    done = gpubox("sweep", "--release", ref, "--yes")
    assert done.code == 3
    assert "still lists it" in done.err
    assert len(sim.account.live()) == 1
    with Ledger() as ledger:
        assert ledger.get("lost").provider_ref == ref


def test_a_create_call_that_lost_its_answer_is_settled(sim: Running, gpubox: Callable[..., Done]) -> None:
    with Ledger() as ledger:
        ledger.add("lost", "autodl", order=ORDER)
        ledger.audit("lost", "create", "begun")
        sim.faults.drop("create")
        with pytest.raises(Unreachable):
            AutodlProvider().create(Order(ORDER, BOX))
        done = gpubox("sweep")
        assert done.code == 0, done.err
        assert "was cut off, and it is there" in done.err
        (live,) = sim.account.live()
        assert ledger.get("lost").provider_ref == live.uuid


@pytest.mark.parametrize("command", ["sweep", "offers", "doctor"])
def test_a_token_that_is_not_accepted(
    sim: Running, gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("AUTODL_TOKEN", "a-token-of-nobody")
    done = gpubox(command)
    assert done.code == (1 if command == "doctor" else 4), done.err
    assert "a-token-of-nobody" not in done.out + done.err


def test_a_list_that_does_not_come_is_no_all_clear(
    sim: Running, gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubox.providers.clock.Wall.sleep", lambda _self, _seconds: None)
    rent(sim, ORDER)
    sim.faults.garbage("list", times=100)
    done = gpubox("sweep")
    assert done.code in (1, 5)
    assert "what `autodl` has is not known" in done.err


def test_doctor_asks_the_account_and_rents_nothing(sim: Running, gpubox: Callable[..., Done]) -> None:
    done = gpubox("doctor")
    assert done.code == 0
    assert "100.00 CNY on the account" in done.out
    assert {call.operation for call in sim.server.calls} <= {"balance", "list", "gpu_stock"}
