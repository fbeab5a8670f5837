"""CompShare with a real box behind it, and the simulator by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import Failed
from gpubox.providers.base import Order
from gpubox.providers.compshare import CompshareProvider
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from sim.clock import SimClock
from sim.compshare import KEYS, compshare
from sim.compshare.app import signature
from sim.machines import RealMachines
from sim.promises import record

if TYPE_CHECKING:
    from box.testbox import BoxFactory

BOX = BoxFile.model_validate({"provider": "compshare", "gpu": {"name": "RTX 4090"}})


def test_a_real_box_is_logged_in_to_stopped_by_its_plan_and_released(boxes: BoxFactory) -> None:
    boxes(data_size=16 << 20).power_off()  # skips where none can be made
    machines = RealMachines(data_size=64 << 20)
    with compshare(machines=machines, clock=SimClock()) as sim:
        provider = CompshareProvider(clock=sim.clock, url=sim.url, keys=KEYS)
        ref = provider.create(Order("gpubox-real-00000001", BOX, timedelta(hours=1)))
        one = record("compshare", ref)
        rented = provider.ready(one, lambda _: None)

        identity = ensure_identity()
        key = first_contact(
            "real",
            rented.endpoint,
            password=lambda: rented.password or "",
            pinned=None,
            accept=lambda _mark, _key: True,
            identity_file=identity,
        )
        with Host(Login("real", rented.endpoint, identity, key)) as host:
            assert host.run("id -un").stdout.strip() == "root"
        assert key.split()[1] == machines.boxes[0].box.host_key.split()[1]

        sim.clock.advance(hours=1)
        sim.account.settle()
        assert not machines.boxes[0].box.is_on()
        assert provider.state(one) in ("stopping", "stopped")
        provider.power_off(one)
        provider.release(one)
        assert provider.state(one) == "gone"
        assert machines.boxes[0].destroyed


def test_the_signature_is_the_documented_one() -> None:
    """UCloud's own example, from its page on signatures."""
    public, private = "ucloudsomeone@example.com1296235120854146120", "46f09bb9fab4f12dfc160dae12273d5332b5debe"
    parameters = {"Action": "DescribeUHostInstance", "Region": "cn-bj2", "Limit": "10", "PublicKey": public}
    assert signature(parameters, private) == "cba5cf5ec4d4233d206b1b54951e3787350a642f"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [({"PublicKey": "somebody"}, 172), ({"PublicKey": KEYS[0], "Signature": "0" * 40}, 171), ({}, 172)],
)
def test_who_does_not_sign_is_not_answered(parameters: dict[str, str], code: int) -> None:
    with compshare() as sim:
        answer = httpx.post(sim.url, data={"Action": "GetProjectList", **parameters}, trust_env=False)
    assert (answer.status_code, answer.json()["RetCode"]) == (200, code)


def test_the_default_way_of_payment_is_the_month_as_with_the_real_one() -> None:
    """What the provider must not leave out."""
    with compshare() as sim:
        client = CompshareProvider(clock=sim.clock, url=sim.url, keys=KEYS)
        given = {
            "Region": "cn-wlcb", "Zone": "cn-wlcb-01", "GpuType": "4090", "GPU": 1, "CPU": 8, "Memory": 32768,
            "CompShareImageId": "compshareImage-cuda", "Disks": [{"IsBoot": True, "Type": "CLOUD_SSD", "Size": 100}],
        }  # fmt: skip
        client._api.once("CreateCompShareInstance", given)
        (box,) = sim.account.live()
        assert box.wanted.charge == "Month"
        with pytest.raises(Failed, match="RetCode 210"):
            client._api.once("CreateCompShareInstance", {**given, "GPU": None})


def test_the_simulator_runs_as_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = Path(__file__).resolve().parents[3]
    child = subprocess.Popen(
        [sys.executable, "-m", "sim.compshare"], cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdin
        assert child.stdout
        for name, value in json.loads(child.stdout.readline()).items():
            monkeypatch.setenv(name, value)
        try:
            assert CompshareProvider().alive() == []
        finally:
            child.stdin.close()
        assert child.wait(60) == 0
