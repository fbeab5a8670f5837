"""Boxes of CompShare that come late, never, or without an answer."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Failed, Unreachable
from gpubox.providers.base import Price
from sim.compshare import Running, compshare
from sim.server import Response

from .world import NAME, made, mute, only, order, provider_of

if TYPE_CHECKING:
    from gpubox.providers.compshare import CompshareProvider


def test_a_box_that_nobody_heard_of_is_found_by_its_name_when_the_list_has_it() -> None:
    with compshare(list_seconds=20) as sim:
        provider = provider_of(sim)
        sim.faults.drop("CreateCompShareInstance")
        with pytest.raises(Unreachable):
            provider.create(order())
        assert provider.find(NAME) is None
        sim.clock.advance(20)
        assert provider.find(NAME) == only(sim).ref
        assert sim.server.count("CreateCompShareInstance") == 1


@pytest.mark.parametrize("answer", [None, [], {}, {"RetCode": "0"}, {"UHostSet": []}])
def test_what_is_no_answer_is_silence(
    sim: Running, provider: CompshareProvider, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(sim.server.app, "answer", lambda _: Response.of(answer))
    with pytest.raises(Unreachable, match="no answer of its"):
        provider.alive()


def test_a_box_that_the_list_does_not_show_yet_is_not_gone() -> None:
    with compshare(list_seconds=60) as sim:
        provider = provider_of(sim)
        one = made(sim, provider.create(order()))
        assert provider.state(one) == "starting"
        assert provider.ready(one, mute).ref == one.provider_ref


def test_a_create_that_was_a_lie_ends_and_bills_nothing(sim: Running, provider: CompshareProvider) -> None:
    sim.faults.lie("CreateCompShareInstance")
    one = made(sim, provider.create(order()))
    with pytest.raises(Failed, match="does not have this box"):
        provider.ready(one, mute)
    assert provider.state(one) == "gone"
    assert sim.account.billing() == []


def test_ready_tells_where_and_with_which_password_and_what_it_costs(sim: Running, provider: CompshareProvider) -> None:
    said: list[str] = []
    one = made(sim, provider.create(order()))
    rented = provider.ready(one, said.append)
    box = only(sim)
    assert rented.password == box.password
    assert rented.endpoint.port == box.machine.port
    assert rented.price == Price(Decimal("1.66"), "CNY", Decimal("0.0"))
    assert "CompShare says: Initializing" in said
    assert box.password not in repr(rented)
    provider.power_off(one)
    provider.power_on(one)
    again = provider.ready(one, mute)
    assert again.endpoint.port == box.machine.port != rented.endpoint.port


def test_an_image_that_cannot_be_installed_ends_and_can_be_released() -> None:
    with compshare(bad_images=("compshareImage-cuda",)) as sim:
        provider = provider_of(sim)
        one = made(sim, provider.create(order()))
        with pytest.raises(Failed, match="could not install the image"):
            provider.ready(one, mute)
        with pytest.raises(Failed, match="cannot start"):
            provider.power_on(one)
        provider.power_off(one)
        provider.release(one)
        assert provider.state(one) == "gone"
