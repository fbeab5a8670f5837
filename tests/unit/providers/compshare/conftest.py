"""A simulated account of CompShare, and the provider that rents there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.providers.compshare import CompshareProvider
from sim.compshare import KEYS, Running, compshare
from sim.promises import World

if TYPE_CHECKING:
    from collections.abc import Iterator


from .world import box_file, provider_of


@pytest.fixture
def sim() -> Iterator[Running]:
    with compshare() as running:
        yield running


@pytest.fixture
def provider(sim: Running) -> CompshareProvider:
    return provider_of(sim)


@pytest.fixture
def world(sim: Running, provider: CompshareProvider) -> World:
    return World(
        provider=provider,
        stranger=CompshareProvider(clock=sim.clock, url=sim.url, keys=(KEYS[0], "wrong")),
        box=box_file(),
        server=sim.server,
        faults=sim.faults,
        clock=sim.clock,
        live=lambda: [box.ref for box in sim.account.live()],
        billing=sim.account.billing,
        create="CreateCompShareInstance",
        start="StartCompShareInstance",
        stop="StopCompShareInstance",
        release="TerminateCompShareInstance",
        looks=("DescribeCompShareInstance",),
    )
