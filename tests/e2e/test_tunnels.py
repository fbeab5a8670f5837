"""What `gpubox tunnel` promises, on real boxes: links that die, ports that are taken, several boxes, nothing left."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli import wait_for
from e2e.conftest import PLAIN, Converged, adopt
from free_ports import free_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

# What runs on the boxes; two programs, so that a tunnel has two ends.
PORTS = (8123, 8124)
# Where they are wanted on this machine.
FIRST = free_run(6)
SECOND = FIRST + 1
TUNNELS = f"tunnels: [{{remote: 8123, local: {FIRST}}}, {{remote: 8124, local: {SECOND}}}]\n"
# The limit that the README gives, with room for two slow cores that other work shares.
NOTICED = 15.0
ROOM = 10.0


@pytest.fixture(scope="module")
def pair(converged: Converged, module_boxes: BoxFactory, offline: Callable[..., Wishes]) -> tuple[Converged, TestBox]:
    """Two boxes that are up, `mybox` and `other`, with a web server behind each of two ports."""
    gpubox, box = converged
    other = adopt(gpubox, module_boxes(**offline("controller", "small_gpt", "vllm")), "other")
    gpubox("up", "other")
    for name, machine in (("mybox", box), ("other", other)):
        gpubox.box_file(name, PLAIN + TUNNELS)
        machine.write("/srv/name", name)
        for port in PORTS:
            machine.exec(f"setsid python3 -m http.server -d /srv --bind 127.0.0.1 {port} </dev/null >/dev/null 2>&1 &")
    return converged, other


@pytest.fixture
def gpubox(pair: tuple[Converged, TestBox]) -> Iterator[Gpubox]:
    """The command line that knows both boxes; no tunnel is open."""
    tool = pair[0].gpubox
    yield tool
    tool.end_clients()


@pytest.fixture
def box(pair: tuple[Converged, TestBox]) -> TestBox:
    """`mybox`."""
    return pair[0].box


def tunnel(gpubox: Gpubox, name: str) -> dict[str, Any]:
    (found,) = [item for item in gpubox.json("tunnel", "--list") if item["name"] == name]
    return dict(found)


def ports(gpubox: Gpubox, name: str) -> list[int]:
    return [item["local_port"] for item in tunnel(gpubox, name)["forwards"]]


def who(port: int) -> str | None:
    """Which box answers behind a port of this machine; None when none does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/name", timeout=3) as answer:
            text: str = answer.read().decode()
            return text
    except (OSError, http.client.HTTPException):
        return None


def test_a_tunnel_lasts_as_long_as_its_command(gpubox: Gpubox) -> None:
    client = gpubox.start("tunnel", "mybox")
    gpubox.until(client, "Ctrl-C closes it", "tunnel", "mybox")
    local = ports(gpubox, "mybox")
    assert [who(port) for port in local] == ["mybox", "mybox"]
    os.killpg(client.pid, signal.SIGINT)
    assert client.wait(timeout=60) == 0
    wait_for("its end", lambda: gpubox.json("tunnel", "--list") == [], timeout=30)
    assert [who(port) for port in local] == [None, None]


def test_a_killed_command_takes_its_tunnel_along(gpubox: Gpubox) -> None:
    client = gpubox.start("tunnel", "mybox")
    gpubox.until(client, "Ctrl-C closes it", "tunnel", "mybox")
    (port, _) = ports(gpubox, "mybox")
    os.killpg(client.pid, signal.SIGKILL)
    # The port closes, and whoever closes it ends a moment later.
    wait_for("its end", lambda: who(port) is None and gpubox.json("tunnel", "--list") == [], timeout=30)


def test_several_boxes_at_once_each_on_ports_of_its_own(gpubox: Gpubox) -> None:
    gpubox("tunnel", "mybox", "--detach")
    said = gpubox("tunnel", "other", "--detach").stdout
    mine, others = ports(gpubox, "mybox"), ports(gpubox, "other")
    assert mine == [FIRST, SECOND]
    assert not set(mine) & set(others)
    assert f"port 8123: http://127.0.0.1:{others[0]} (port {FIRST} is taken here)" in said
    assert [who(port) for port in mine + others] == ["mybox", "mybox", "other", "other"]
    assert f"127.0.0.1:{FIRST}" in gpubox("tunnel", "--list").stdout
    # Again is what is there already.
    gpubox("tunnel", "mybox", "--detach")
    assert ports(gpubox, "mybox") == mine

    assert "closed: mybox" in gpubox("tunnel", "mybox", "--stop").stderr
    assert [who(port) for port in mine + others] == [None, None, "other", "other"]
    assert "closed: other" in gpubox("tunnel", "--stop").stderr
    assert gpubox.json("tunnel", "--list") == []
    assert "none was open" in gpubox("tunnel", "--stop").stderr


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_taken_port_gets_the_next_free_one_and_says_so(
    gpubox: Gpubox, family: socket.AddressFamily, address: str
) -> None:
    with socket.create_server((address, FIRST), family=family):
        said = gpubox("tunnel", "mybox", "--detach").stdout
    first, second = ports(gpubox, "mybox")
    assert first not in (FIRST, SECOND)
    assert second == SECOND
    assert f"port 8123: http://127.0.0.1:{first} (port {FIRST} is taken here)" in said
    assert (who(first), who(second)) == ("mybox", "mybox")


def test_killed_connections_come_back_on_the_same_ports(gpubox: Gpubox, box: TestBox) -> None:
    gpubox("tunnel", "mybox", "--detach")
    before = ports(gpubox, "mybox")
    for again in (1, 2, 3):
        assert box.kill_connections() > 0
        wait_for("the tunnel to be back", lambda: who(before[0]) == "mybox", timeout=30)
        wait_for("its report", partial(_reconnected, gpubox, again), timeout=30)
    assert ports(gpubox, "mybox") == before
    assert tunnel(gpubox, "mybox")["state"] == "connected"
    assert who(before[1]) == "mybox"


def _reconnected(gpubox: Gpubox, times: int) -> bool:
    return int(tunnel(gpubox, "mybox")["reconnects"]) >= times


def test_a_cut_is_noticed_in_15_seconds_and_healed_by_itself(gpubox: Gpubox, box: TestBox) -> None:
    gpubox("tunnel", "mybox", "--detach")
    before = ports(gpubox, "mybox")
    box.cut()
    begun = time.monotonic()
    wait_for("the cut to be noticed", lambda: tunnel(gpubox, "mybox")["state"] == "reconnecting", timeout=60)
    noticed = time.monotonic() - begun
    assert noticed < NOTICED + ROOM
    assert "reconnecting" in gpubox("tunnel", "--list").stdout
    box.heal()
    wait_for("the tunnel to be back", lambda: who(before[0]) == "mybox", timeout=60)
    assert ports(gpubox, "mybox") == before
    wait_for("its report", lambda: tunnel(gpubox, "mybox")["state"] == "connected", timeout=30)


def test_a_box_that_is_power_cycled_is_found_again(gpubox: Gpubox, pair: tuple[Converged, TestBox]) -> None:
    other = pair[1]
    gpubox("tunnel", "other", "--detach")
    before = ports(gpubox, "other")
    other.power_cycle(new_port=True)
    wait_for("the loss", lambda: tunnel(gpubox, "other")["state"] == "reconnecting", timeout=60)
    gpubox("add", "other", other.ssh_line)
    gpubox("tunnel", "other", "--detach")
    other.exec("setsid python3 -m http.server -d /srv --bind 127.0.0.1 8123 </dev/null >/dev/null 2>&1 &")
    wait_for("the tunnel to be back", lambda: who(before[0]) == "other", timeout=60)
    assert ports(gpubox, "other") == before


def test_a_box_with_nothing_to_lead_to_says_what_to_set(gpubox: Gpubox) -> None:
    gpubox.box_file("other", PLAIN)
    done = gpubox("tunnel", "other", code=1)
    assert "no service of this box has a port" in done.stderr
    assert "`tunnels:`" in done.stderr
