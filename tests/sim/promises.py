"""What every provider that rents holds, as tests: subclass `Promises` and give it a fixture `world`.

`pytest.register_assert_rewrite("sim.promises")` stands in the conftest beside the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, Failed, NoStock, Unreachable
from gpubox.ledger import BoxRecord
from gpubox.providers.base import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.boxfile import BoxFile
    from gpubox.providers import Provider
    from gpubox.providers.base import Alive
    from sim.clock import SimClock
    from sim.faults import FaultPlan
    from sim.server import Server

_AT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """A provider, the simulation behind it, and the names of that one's operations.

    `stranger`: the same provider with a key that is wrong. `live`, `billing`: what the simulation really has.
    """

    provider: Provider
    stranger: Provider
    box: BoxFile
    server: Server
    faults: FaultPlan
    clock: SimClock
    live: Callable[[], list[str]]
    billing: Callable[[], list[str]]
    create: str
    start: str
    stop: str
    release: str
    looks: tuple[str, ...]

    def rent(self, order: str = "gpubox-box-00000001") -> BoxRecord:
        """A box that has been asked for."""
        return record(self.provider.name, self.provider.create(Order(order, self.box)))

    def running(self, order: str = "gpubox-box-00000001") -> BoxRecord:
        """A box that is ready."""
        rented = self.rent(order)
        self.provider.ready(rented, _mute)
        return rented

    def stopped(self) -> BoxRecord:
        """A box that is off."""
        rented = self.running()
        self.provider.power_off(rented)
        return rented

    def shown(self, rented: BoxRecord) -> Alive:
        """How the account's list shows it."""
        return next(one for one in self.provider.alive() if one.ref == rented.provider_ref)


def record(provider: str, ref: str | None) -> BoxRecord:
    """As it stands in the ledger."""
    return BoxRecord(name="box", provider=provider, provider_ref=ref, created_at=_AT, updated_at=_AT)


class Promises:
    """A test class of a provider inherits these tests."""

    def test_a_box_is_rented_used_stopped_started_and_given_back(self, world: World) -> None:
        provider, said = world.provider, list[str]()
        assert provider.find("gpubox-box-00000001") is None
        box = world.rent()
        assert provider.find("gpubox-box-00000001") == box.provider_ref
        assert provider.state(box) in ("starting", "running")

        first = provider.ready(box, said.append)
        assert said
        assert first.ref == box.provider_ref
        assert provider.state(box) == "running"
        assert world.shown(box).billing

        provider.power_off(box)
        assert provider.state(box) == "stopped"
        provider.power_off(box)  # nothing to do
        assert world.billing() == []
        assert not world.shown(box).billing

        provider.power_on(box)
        again = provider.ready(box, _mute)
        assert again.ref == first.ref

        provider.power_off(box)
        provider.release(box)
        assert provider.state(box) == "gone"
        assert provider.find("gpubox-box-00000001") is None
        assert provider.alive() == []
        assert world.live() == []
        assert world.server.count(world.create) == 1

    def test_it_is_told_where_a_box_is_that_was_restarted_behind_our_back(self, world: World) -> None:
        provider, box = world.provider, world.rent()
        before = provider.ready(box, _mute).endpoint
        provider.power_off(box)
        assert provider.whereabouts(box) is None
        provider.power_on(box)
        after = provider.ready(box, _mute).endpoint
        found = provider.whereabouts(box)
        assert found is not None
        assert found.endpoint == after != before
        provider.power_off(box)
        provider.release(box)
        assert provider.whereabouts(box) is None

    def test_two_boxes_are_two(self, world: World) -> None:
        one, other = world.running("gpubox-one-00000001"), world.running("gpubox-other-00000002")
        assert world.provider.find("gpubox-one-00000001") == one.provider_ref
        assert world.provider.find("gpubox-other-00000002") == other.provider_ref
        assert world.provider.find("gpubox-on") is None
        assert {row.name for row in world.provider.alive()} == {"gpubox-one-00000001", "gpubox-other-00000002"}
        world.provider.power_off(one)
        assert world.provider.state(other) == "running"

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param(lambda plan, create: plan.drop(create), id="dropped-after"),
            pytest.param(lambda plan, create: plan.garbage(create), id="half-an-answer"),
            pytest.param(lambda plan, create: plan.drop(create, done=False), id="dropped-before"),
            pytest.param(lambda plan, create: plan.http(create, status=500), id="500"),
            pytest.param(lambda plan, create: plan.http(create, status=502), id="502"),
            pytest.param(lambda plan, create: plan.html(create), id="a-login-page"),
        ],
    )
    def test_create_is_asked_once_and_find_decides(
        self, world: World, broken: Callable[[FaultPlan, str], FaultPlan]
    ) -> None:
        broken(world.faults, world.create)
        with pytest.raises(Unreachable):
            world.rent()
        assert world.server.count(world.create) == 1
        found = world.provider.find("gpubox-box-00000001")
        assert ([found] if found else []) == world.live()

    def test_no_stock_rents_nothing(self, world: World) -> None:
        world.faults.no_stock(60)
        with pytest.raises(NoStock) as caught:
            world.rent()
        assert caught.value.hint
        assert world.live() == []
        assert world.server.count(world.create) == 1
        world.clock.advance(61)
        assert world.running().provider_ref in world.live()

    def test_a_stopped_box_may_find_no_stock_and_stays_as_it_is(self, world: World) -> None:
        box = world.stopped()
        world.faults.no_stock()
        with pytest.raises(NoStock):
            world.provider.power_on(box)
        assert world.provider.state(box) == "stopped"
        world.faults.stock()
        world.provider.power_on(box)
        assert world.provider.ready(box, _mute).ref == box.provider_ref

    def test_looks_outlive_a_hiccup(self, world: World) -> None:
        box = world.running()
        world.faults.restart()
        for look in world.looks:
            world.faults.drop(look, 1, done=False).http(look, 2, status=502)
        assert world.provider.state(box) == "running"
        assert [row.ref for row in world.provider.alive()] == [box.provider_ref]
        assert world.provider.find("gpubox-box-00000001") == box.provider_ref

    def test_silence_is_not_gone(self, world: World) -> None:
        box = world.running()
        world.faults.http("*", times=world.faults.ALWAYS, status=503)
        with pytest.raises(Unreachable):
            world.provider.state(box)
        with pytest.raises(Unreachable):
            world.provider.alive()
        with pytest.raises(Unreachable):
            world.provider.find("gpubox-box-00000001")

    def test_a_release_that_was_a_lie_is_seen(self, world: World) -> None:
        box = world.stopped()
        world.faults.restart().lie(world.release)
        world.provider.release(box)
        assert world.provider.state(box) == "stopped"
        world.provider.release(box)
        assert world.provider.state(box) == "gone"

    def test_a_power_off_that_was_a_lie_is_asked_again(self, world: World) -> None:
        box = world.running()
        world.faults.restart().lie(world.stop)
        world.provider.power_off(box)
        assert world.billing() == []
        assert world.server.count(world.stop) == 2

    def test_a_power_off_whose_answer_is_lost_is_seen_through(self, world: World) -> None:
        box = world.running()
        world.faults.restart().drop(world.stop)
        world.provider.power_off(box)
        assert world.provider.state(box) == "stopped"

    def test_a_box_that_never_goes_off_is_said(self, world: World) -> None:
        box = world.running()
        world.faults.restart().lie(world.stop, times=world.faults.ALWAYS)
        with pytest.raises(Unreachable) as caught:
            world.provider.power_off(box)
        assert caught.value.hint
        assert world.billing() == [box.provider_ref]

    def test_a_wrong_key_is_said_and_not_shown(self, world: World) -> None:
        for ask in (world.stranger.alive, world.stranger.balance):
            with pytest.raises(AuthFailed) as caught:
                ask()
            assert caught.value.hint
        assert [finding.level for finding in world.stranger.check()].count("blocker") >= 1

    def test_a_check_rents_nothing(self, world: World) -> None:
        findings = world.provider.check()
        assert findings
        assert [finding for finding in findings if finding.level == "blocker"] == []
        assert world.live() == []
        assert world.server.count(world.create) == 0

    def test_what_was_never_rented_cannot_be_powered(self, world: World) -> None:
        nothing = record(world.provider.name, None)
        assert world.provider.state(nothing) == "unknown"
        for act in (world.provider.power_on, world.provider.power_off, world.provider.release):
            with pytest.raises(Failed):
                act(nothing)


def _mute(_: str) -> None:
    """Takes what `ready` waits for."""
