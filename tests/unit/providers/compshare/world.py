"""What the tests of CompShare share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.boxfile import BoxFile
from gpubox.providers.base import Order
from gpubox.providers.compshare import CompshareProvider
from sim.compshare import KEYS, Running
from sim.compshare.account import Wanted
from sim.promises import record

if TYPE_CHECKING:
    from datetime import timedelta

    from gpubox.ledger import BoxRecord
    from sim.compshare.account import Box


NAME = "gpubox-box-00000001"


def provider_of(sim: Running) -> CompshareProvider:
    return CompshareProvider(clock=sim.clock, url=sim.url, keys=KEYS)


def box_file(gpu: str = "RTX 4090", count: int = 1, max_price: float | None = None, **section: object) -> BoxFile:
    return BoxFile.model_validate(
        {
            "provider": "compshare",
            "gpu": {"name": gpu, "count": count},
            "max_price": max_price,
            "compshare": section or None,
        }
    )


def order(box: BoxFile | None = None, after: timedelta | None = None) -> Order:
    return Order(NAME, box or box_file(), after)


def mute(_: str) -> None:
    """Takes what `ready` waits for."""


def made(sim: Running, ref: str) -> BoxRecord:
    return record("compshare", ref)


def running(sim: Running, provider: CompshareProvider, box: BoxFile | None = None) -> BoxRecord:
    one = made(sim, provider.create(order(box)))
    provider.ready(one, mute)
    return one


def only(sim: Running) -> Box:
    (box,) = sim.account.live()
    return box


def asked(sim: Running, action: str) -> dict[str, Any]:
    """The parameters of the last call of that action."""
    return [call.parameters for call in sim.server.calls if call.operation == action][-1]


def seeded(sim: Running, name: str = "by hand", project: str = "org-main", charge: str = "Postpay") -> Box:
    """A box that somebody made without gpubox."""
    size, image = (1, 14, 48), "compshareImage-torch"
    return sim.account.create(Wanted(name, project, "cn-sh2", "cn-sh2-01", "5090", size, image, charge, 100))
