"""A model from a hub, by `gpubox up`, on a box whose job is killed and which goes off in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.conftest import adopt
from sim.hub import HubFaults, HubServer, Made, hub, repo
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

MIB = 1 << 20
TARGET = "/root/autodl-tmp/gpubox/models/tiny"
ONE, TWO = Made(1, 16 * MIB), Made(2, 12 * MIB + 1)
FILES = repo({"config.json": b"{}", "model-1.safetensors": ONE, "model-2.safetensors": TWO})
SIZE = 28 * MIB + 3
WANTED = "provider: attach\nmodel: {source: modelscope, id: acme/tiny}\n"


@pytest.fixture
def served() -> Iterator[HubServer]:
    """A hub that needs a while for the model."""
    with hub({"acme/tiny": FILES}, HubFaults(total_rate=4.0 * MIB)) as server:
        yield server


@pytest.fixture
def adopted(gpubox: Gpubox, served: HubServer, boxes: BoxFactory, offline: Callable[..., Wishes]) -> TestBox:
    """A box that reaches the hub, and a box file that wants the model."""
    gpubox.env |= served.environment
    wishes = offline("controller")
    wishes["network"] = "host"
    box = adopt(gpubox, boxes(**wishes))
    gpubox.box_file("mybox", WANTED)
    return box


def test_a_model_arrives_whole_whatever_happens_to_its_box(gpubox: Gpubox, served: HubServer, adopted: TestBox) -> None:
    box, counters = adopted, served.counters
    client = gpubox.start("up", "mybox")
    until(lambda: counters.sent() > 4 * MIB or client.poll() is not None, "the first bytes", seconds=180)
    assert box.exec("pkill -KILL -f '[m]odel_fetch fetch'").exit_code == 0
    assert client.wait(timeout=180) == 1
    assert "model-tiny" in gpubox.stderr_of("up", "mybox")
    client = gpubox.start("up", "mybox")
    before = counters.sent()
    until(lambda: counters.sent() > before + 8 * MIB or client.poll() is not None, "more bytes", seconds=180)
    box.power_cycle()
    client.wait(timeout=180)
    served.faults.total_rate = 0
    gpubox("up", "mybox")
    sums = box.exec(f"cd {TARGET} && sha256sum *").stdout.split()
    assert sums[2:] == [ONE.sha256, "model-1.safetensors", TWO.sha256, "model-2.safetensors"]
    # At 4 MiB/s: half a second of the line for the kill, and what the box had not made safe for the power cut.
    assert counters.sent() < 1.8 * SIZE
