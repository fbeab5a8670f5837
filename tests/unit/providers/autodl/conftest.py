"""A simulated account of AutoDL, and the provider that rents there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.providers.autodl import AutodlProvider
from sim.autodl import Running, autodl
from sim.promises import World

if TYPE_CHECKING:
    from collections.abc import Iterator

from .world import BOX, provider_of


@pytest.fixture
def sim() -> Iterator[Running]:
    with autodl() as running:
        yield running


@pytest.fixture
def provider(sim: Running) -> AutodlProvider:
    return provider_of(sim)


@pytest.fixture
def world(sim: Running, provider: AutodlProvider) -> World:
    return World(
        provider=provider,
        stranger=AutodlProvider(clock=sim.clock, url=sim.url, token="wrong"),
        box=BOX,
        server=sim.server,
        faults=sim.faults,
        clock=sim.clock,
        live=lambda: [one.uuid for one in sim.account.live()],
        billing=sim.account.billing,
        create="create",
        start="power_on",
        stop="power_off",
        release="release",
        looks=("status", "list", "snapshot"),
    )
