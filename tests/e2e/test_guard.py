"""The guard as a person meets it: in a box file, in `up`, in `status`, and when it powers the box off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from e2e.conftest import PLAIN
from e2e.test_plain_ansible import ansible, counts

if TYPE_CHECKING:
    from box.testbox import TestBox
    from e2e.cli import Gpubox

GUARDED = f"{PLAIN}guard: {{ttl: 8h, idle: 30m, price_per_hour: 3.6, budget: 100}}\n"


def test_a_guarded_box(gpubox: Gpubox, added: TestBox) -> None:
    gpubox.box_file("mybox", GUARDED)
    gpubox("up", "mybox")
    view = gpubox.json("guard", "mybox")
    assert (view["stage"], view["limits"]["ttl"], view["limits"]["budget"]) == ("watching", 28800, 100)
    assert 7 * 3600 < view["guard_at"] - time.time() <= 8 * 3600
    assert "guard: powers off in 8 h at the latest" in gpubox("status", "mybox").stdout
    (listed,) = [item for item in gpubox.json("ls") if item["name"] == "mybox"]
    assert listed["guard_at"] is not None

    # A second converge changes nothing, whichever way it runs, and neither counts anew.
    assert gpubox.json("up", "mybox")["changed"] is False
    up = ("-i", "inventories/gpubox.yml", "playbooks/up.yml", "--limit", "mybox")
    assert counts(ansible(gpubox, *up), "mybox")["changed"] == 0
    assert counts(ansible(gpubox, *up, "--check", "--diff"), "mybox")["changed"] == 0
    ansible(gpubox, "-i", "inventories/gpubox.yml", "playbooks/verify.yml", "--limit", "mybox")
    assert gpubox.json("guard", "mybox")["started_at"] == view["started_at"]

    longer = gpubox.json("guard", "mybox", "--extend", "2h")
    assert longer["guard_at"] == view["guard_at"] + 7200
    refused = gpubox("guard", "mybox", "--off", code=3)
    assert "gpubox guard mybox --off --yes" in refused.stderr
    assert gpubox.json("guard", "mybox", "--off", "--yes")["stage"] == "off"
    assert "switched off" in gpubox("status", "mybox").stdout
    assert gpubox.json("guard", "mybox", "--on")["stage"] == "watching"

    # One that the box file no longer has would power the box off all the same.
    gpubox.box_file("mybox", PLAIN)
    gpubox("up", "mybox")
    assert "has no guard" in gpubox("guard", "mybox", code=2).stderr
    assert not [line for line in added.processes() if "boxguard" in line]
    gpubox.box_file("mybox", GUARDED)
    gpubox("up", "mybox", "--no-tunnel")

    # More time is no more money: by its box file that is spent already. The client is gone when it goes off.
    assert "budget is not extended" in gpubox("guard", "mybox", "--extend", "1h").stderr
    gpubox.box_file("mybox", f"{PLAIN}guard: {{price_per_hour: 3.6, budget: 0.01}}\n")
    # On a slow machine that is in the middle of the converge, and who follows it would wait for the link to come back.
    client = gpubox.start("up", "mybox", "--no-tunnel")
    added.wait_off(300)
    client.terminate()
    client.wait(60)
