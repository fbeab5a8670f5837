"""The base of the simulated providers: what tests lean on must itself hold."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import httpx
import pytest

from gpubox.providers.clock import WALL, pauses
from gpubox.providers.greeting import greets
from sim.clock import SimClock
from sim.faults import Fault, FaultPlan, as_json, from_json
from sim.machines import PaperMachine, PaperMachines
from sim.money import Meter, Wallet
from sim.server import Request, Response, serve

if TYPE_CHECKING:
    from typing import Any


@dataclass
class Counter:
    """The smallest provider: every call counts."""

    clock: SimClock = field(default_factory=SimClock)
    faults: FaultPlan = field(default_factory=FaultPlan)
    count: int = 0

    def operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        return request.path.strip("/"), dict(request.query)

    def answer(self, request: Request) -> Response:
        if request.path == "/broken":
            raise KeyError("a mistake in the simulator")
        self.count += 1
        return Response.of({"count": self.count})

    def success(self, request: Request) -> Response:
        return Response.of({"count": "a lie"})

    def error(self, request: Request, code: str, message: str) -> Response:
        return Response.of({"error": code}, 400)

    def bills(self) -> dict[str, Decimal]:
        return {}


def test_faults_meet_the_calls_they_are_planned_for() -> None:
    app = Counter()
    app.faults.error("add", 2, code="No").lie("add", 3).garbage("add", 4).garbage("add", 5, done=False).http("look")
    app.faults.html("*", 7)
    with serve(app) as server, httpx.Client(base_url=server.url) as client:
        answers = [client.post("/add") for _ in range(5)]
        assert [answer.text for answer in answers] == [
            '{"count": 1}',
            '{"error": "No"}',
            '{"count": "a lie"}',
            '{"coun',
            '{"count":',
        ]
        assert client.get("/look", params={"x": "1"}).status_code == 500
        assert client.get("/look").headers["content-type"] == "text/html"
        assert client.get("/look").json() == {"count": 3}
        assert [call.done for call in server.calls] == [True, False, False, True, False, False, False, True]
        assert server.operations() == ["add"] * 5 + ["look"] * 3
        assert server.calls[5].parameters == {"x": "1"}


def test_a_dropped_call_was_done_or_not() -> None:
    app = Counter()
    app.faults.drop("add", 1).drop("add", 2, done=False)
    with serve(app) as server, httpx.Client(base_url=server.url) as client:
        for done in (1, 1):
            with pytest.raises(httpx.TransportError):
                client.post("/add")
            assert app.count == done
        assert client.post("/add").json() == {"count": 2}
        assert [call.answered for call in server.calls[:2]] == [False, False]


def test_a_hanging_call_ends_with_the_server() -> None:
    app = Counter()
    app.faults.hang("add")
    with serve(app) as server, pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/add", timeout=0.1)
    assert app.count == 1


def test_an_action_runs_before_or_after_the_thing_is_done() -> None:
    app, seen = Counter(), list[int]()
    app.faults.act("add", lambda: seen.append(app.count), done=False).act("add", lambda: seen.append(app.count))
    with serve(app) as server:
        assert httpx.post(f"{server.url}/add").json() == {"count": 1}
    assert seen == [0, 1]


def test_a_mistake_in_a_simulator_fails_the_test() -> None:
    def ask() -> None:
        with serve(Counter()) as server, pytest.raises(httpx.TransportError):
            httpx.post(f"{server.url}/broken")

    with pytest.raises(RuntimeError, match="simulator itself"):
        ask()


def test_stock_comes_and_goes_with_the_clock() -> None:
    plan = FaultPlan().no_stock(60, "4090D")
    assert not plan.has_stock("4090D", 59)
    assert plan.has_stock("4090D", 60)
    assert plan.has_stock("H800", 0)
    plan.no_stock()
    assert not plan.has_stock("H800", 1e9)
    assert plan.stock().has_stock("4090D", 0)


def test_a_fault_travels_to_another_process() -> None:
    fault = Fault("slow", "list", 2, 3, seconds=1.5)
    assert from_json(as_json(fault)) == fault


def test_a_meter_is_an_integral_over_its_rates() -> None:
    clock, wallet = SimClock(), Wallet(Decimal(10))
    meter = wallet.meter("a")
    assert meter.amount(clock.now()) == 0
    meter.set(clock.now(), Decimal(2))
    clock.advance(hours=1)
    meter.set(clock.now(), Decimal("0.5"))
    clock.advance(hours=2)
    assert wallet.bill("a", clock.now()) == Decimal(3)
    assert wallet.billing() == ["a"]
    meter.set(clock.now(), Decimal(0))
    clock.advance(days=9)
    assert wallet.balance(clock.now()) == Decimal(7)
    assert wallet.billing() == []
    assert Meter().rate == 0


def test_a_clock_stands_or_runs() -> None:
    still = SimClock()
    assert still.now() == still.now()
    begun = still.now()
    still.sleep(90)
    assert (still.now() - begun).total_seconds() == still.slept == 90
    fast = SimClock(rate=1e6)
    assert (fast.now() - begun).total_seconds() < (fast.now() - begun).total_seconds()


def test_pauses_grow_and_end() -> None:
    clock = SimClock()
    waited = list(pauses(clock, 60))
    gaps = [after - before for before, after in pairwise(waited)]
    assert waited[0] == 0
    assert gaps[0] == 0.25
    assert gaps == sorted(gaps)
    assert max(gaps) == 5
    assert 55 < waited[-1] <= 60
    # A laptop that slept through the limit still looks once when it wakes.
    looks = 0
    for _ in pauses(clock, 60):
        looks += 1
        clock.advance(days=1)
    assert looks == 2
    assert WALL.now().utcoffset() is not None


def test_a_paper_box_greets_after_its_time_and_on_another_port_each_time() -> None:
    clock = SimClock()
    machines = PaperMachines(clock, deaf_seconds=3)
    machine = machines.make("a")
    assert isinstance(machine, PaperMachine)
    went = list[str]()
    machine.power_on("secret", "", lambda: went.append("off"))
    port = machine.port
    assert not greets("127.0.0.1", port, 5)
    clock.advance(3)
    assert greets("127.0.0.1", port, 5)
    machine.shut_down_by_itself()
    assert went == ["off"]
    assert not greets("127.0.0.1", port, 5)
    machine.power_on("secret", "", lambda: None)
    clock.advance(3)
    assert greets("127.0.0.1", machine.port, 5)
    machines.close()
    assert not greets("127.0.0.1", machine.port, 5)


def test_what_is_silent_or_speaks_something_else_is_no_ssh_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not greets("127.0.0.1", silent.getsockname()[1], 0.1)
    with serve(Counter()) as web:
        assert not greets("127.0.0.1", int(web.url.rsplit(":", 1)[1]), 0.3)
