"""Fixtures of the providers' tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

# Their asserts say what they compared, as those of test modules do.
pytest.register_assert_rewrite("sim.promises")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import BoxFactory
    from sim.machines import RealMachines


@pytest.fixture
def real_machines(boxes: BoxFactory) -> Iterator[RealMachines]:
    """Test boxes for a simulated provider. Skips where none can be made; `GPUBOX_REQUIRE_BOXES=1`: fails."""
    from box.testbox import NoBoxes
    from sim.machines import RealMachines

    try:
        machines = RealMachines(data_size=64 << 20)
    except NoBoxes as reason:
        if os.environ.get("GPUBOX_REQUIRE_BOXES"):
            raise
        pytest.skip(str(reason))
    yield machines
    machines.close()
