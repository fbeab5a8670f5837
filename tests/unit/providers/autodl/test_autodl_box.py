"""Provider `autodl` with real boxes behind the simulated API, and with clients that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import httpx
import paramiko
import pytest

from gpubox.boxfile import BoxFile
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Order
from sim.autodl import TOKEN, autodl
from sim.machines import RealMachine
from sim.promises import record
from waits import until

if TYPE_CHECKING:
    from gpubox.providers.base import Rented
    from sim.machines import RealMachines

BOX = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D"}})
CREATE = """
from gpubox.boxfile import BoxFile
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Order
box = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D"}})
AutodlProvider().create(Order("gpubox-killed-1", box))
"""


def test_a_box_is_a_box(real_machines: RealMachines) -> None:
    """Rented, logged in to with its password, switched off and on with its disk, and gone after its release."""
    with autodl(machines=real_machines) as sim:
        provider = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
        order = Order("gpubox-a-1", BOX, power_off_after=timedelta(hours=8))
        box = record("autodl", provider.create(order))
        first = provider.ready(box, print)
        assert over_ssh(first, "hostname; echo kept > /root/file").strip() == f"autodl-{box.provider_ref}"
        machine = real_machines.boxes[0].box
        until(lambda: any("sleep 28800" in line for line in machine.processes()), "the start command")

        provider.power_off(box)
        assert not real_machines.boxes[0].box.is_on()
        provider.power_on(box)
        second = provider.ready(box, print)
        assert second.password != first.password
        assert second.endpoint.port != first.endpoint.port
        assert over_ssh(second, "cat /root/file").strip() == "kept"
        with pytest.raises(paramiko.AuthenticationException):
            over_ssh(second, "true", password=first.password)

        provider.power_off(box)
        provider.release(box)
        assert provider.state(box) == "gone"
        assert [machine.destroyed for machine in real_machines.boxes] == [True]


def test_the_first_guard_ends_the_bill_with_no_client_there(real_machines: RealMachines) -> None:
    with autodl(machines=real_machines) as sim:
        provider = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
        box = record("autodl", provider.create(Order("gpubox-a-1", BOX, power_off_after=timedelta(seconds=2))))
        provider.ready(box, print)
        assert sim.account.billing() == [box.provider_ref]
        until(lambda: sim.account.billing() == [])
        assert provider.state(box) == "stopped"
        (machine,) = real_machines.boxes
        assert isinstance(machine, RealMachine)
        assert not machine.box.is_on()


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_client_that_is_killed_while_it_rents_leaves_what_can_be_found(done: bool) -> None:
    with autodl() as sim:
        clients: list[subprocess.Popen[bytes]] = []
        sim.faults.act("create", lambda: os.kill(clients[0].pid, signal.SIGKILL), done=done)
        clients.append(subprocess.Popen([sys.executable, "-c", CREATE], env={**os.environ, **sim.environment}))
        assert clients[0].wait(120) == -signal.SIGKILL
        until(lambda: [call.done for call in sim.server.calls] == [True])
        found = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN).find("gpubox-killed-1")
        assert [found] == [one.uuid for one in sim.account.live()]


def test_the_simulator_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "sim.autodl", "--rate", "0", "--deposit", "50"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            url = told["GPUBOX_AUTODL_URL"]
            provider = AutodlProvider(url=url, token=told["AUTODL_TOKEN"])
            box = record("autodl", provider.create(Order("gpubox-a-1", BOX)))
            httpx.post(f"{url}/_sim/advance", json={"seconds": 11})
            assert provider.state(box) == "running"
            httpx.post(f"{url}/_sim/advance", json={"seconds": 3600})
            bills = httpx.get(f"{url}/_sim/bills").json()
            assert Decimal(bills[box.provider_ref]) == Decimal("1.88")
            lost = {"kind": "error", "on": "status", "code": "RecordNotFoundError", "message": "未查询到相关实例"}
            httpx.post(f"{url}/_sim/faults", json=[lost])
            assert provider.state(box) == "running"
            calls = [call["operation"] for call in httpx.get(f"{url}/_sim/calls").json()]
            assert calls == ["create", "status", "status", "list"]
        finally:
            process.stdin.close()
            assert process.wait(60) == 0


def over_ssh(rented: Rented, command: str, password: str | None = None) -> str:
    """What the command prints, in a session with the box's own password."""
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        endpoint = rented.endpoint
        client.connect(
            endpoint.host,
            endpoint.port,
            endpoint.user,
            password or rented.password,
            look_for_keys=False,
            allow_agent=False,
            timeout=60,
            banner_timeout=60,
            auth_timeout=60,
        )
        return client.exec_command(command)[1].read().decode()
