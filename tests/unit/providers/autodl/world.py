"""What the tests of AutoDL share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.boxfile import BoxFile
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Order
from sim.autodl import TOKEN, Running
from sim.machines import PaperMachine

if TYPE_CHECKING:
    from collections.abc import Callable


BOX = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D", "count": 1}})
ORDER = Order("gpubox-box-00000001", BOX)


def provider_of(sim: Running) -> AutodlProvider:
    return AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)


def paper(sim: Running) -> PaperMachine:
    """The newest box."""
    machine = sim.machines.all[-1]  # type: ignore[attr-defined]
    assert isinstance(machine, PaperMachine)
    return machine


def asked(sim: Running, operation: str) -> dict[str, object]:
    """The parameters of the last such call."""
    return [call.parameters for call in sim.server.calls if call.operation == operation][-1]


def answers(sim: Running, operation: str, data: object) -> None:
    """From now on the simulator answers that operation with that data."""
    app = sim.server.app
    original: Callable[..., object] = getattr(app, f"_{operation}")
    assert original is not None
    setattr(app, f"_{operation}", lambda _: data)
