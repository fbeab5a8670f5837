"""An AWS account that is empty, and the provider that rents there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.providers.ec2 import Ec2Provider
from sim.ec2 import Aws, aws, moto_server
from sim.machines import PaperMachines

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def cloud(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty account, whose instances are boxes on paper."""
    with aws(moto) as cloud:
        cloud.app.machines = PaperMachines(cloud.app.clock)
        try:
            for name, value in cloud.environment.items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("AWS_PROFILE", raising=False)
            yield cloud
        finally:
            cloud.app.machines.close()


@pytest.fixture
def ec2(cloud: Aws) -> Ec2Provider:
    return Ec2Provider(clock=cloud.app.clock)
