"""Provider `autodl` against the simulated Pro API: what every provider holds, and AutoDL's own ways."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Balance, Order
from gpubox.providers.first_guard import shell_guard
from sim.autodl import TOKEN, Running, autodl
from sim.machines import PaperMachine
from sim.promises import Promises, World, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOX = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "RTX 4090 D", "count": 1}})
ORDER = Order("gpubox-box-00000001", BOX)


@pytest.fixture
def sim() -> Iterator[Running]:
    with autodl() as running:
        yield running


@pytest.fixture
def provider(sim: Running) -> AutodlProvider:
    return provider_of(sim)


@pytest.fixture
def world(sim: Running, provider: AutodlProvider) -> World:
    return World(
        provider=provider,
        stranger=AutodlProvider(clock=sim.clock, url=sim.url, token="wrong"),
        box=BOX,
        server=sim.server,
        faults=sim.faults,
        clock=sim.clock,
        live=lambda: [one.uuid for one in sim.account.live()],
        billing=sim.account.billing,
        create="create",
        start="power_on",
        stop="power_off",
        release="release",
        looks=("status", "list", "snapshot"),
    )


class TestPromises(Promises):
    """Those of every provider."""


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


def test_the_key_and_the_address_come_from_the_environment(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = AutodlProvider()
    for name, value in sim.environment.items():
        monkeypatch.setenv(name, value)
    assert AutodlProvider().balance() == Balance(Decimal(100), "CNY")
    monkeypatch.delenv("AUTODL_TOKEN")
    with pytest.raises(AuthFailed, match="autodl") as caught:
        AutodlProvider().balance()
    assert "AUTODL_TOKEN" in str(caught.value.hint)
    assert provider.name == "autodl"


def test_what_the_box_file_says_is_asked_for(sim: Running, provider: AutodlProvider) -> None:
    box = BoxFile.model_validate(
        {
            "provider": "autodl",
            "gpu": {"name": "NVIDIA GeForce RTX 5090", "count": 4},
            "autodl": {
                "image": "image-db8346e037",
                "data_centers": ("beijingDC2",),
                "cuda_v_from": 128,
                "expand_system_disk_gb": 100,
            },
        }
    )
    provider.create(Order("gpubox-a-1", box))
    assert asked(sim, "create") == {
        "req_gpu_amount": 4,
        "expand_system_disk_by_gb": 100,
        "gpu_spec_uuid": "5090-p",
        "image_uuid": "image-db8346e037",
        "cuda_v_from": 128,
        "instance_name": "gpubox-a-1",
        "data_center_list": ["beijingDC2"],
    }
    provider.create(ORDER)
    plain = asked(sim, "create")
    assert "data_center_list" not in plain  # the scheduler finds a card most often when it may choose
    assert "start_command" not in plain
    assert plain["gpu_spec_uuid"] == "4090D"


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({}, "which card"),
        ({"autodl": {"gpu_spec": "h800"}, "gpu": {"name": "H800", "count": 8}}, "given 8"),
        ({"gpu": {"name": "RTX 4090"}}, "did you mean `RTX 4090 D` or `RTX 4090 48G`"),
        ({"gpu": {"name": "A100"}}, 'no "A100"'),
        ({"gpu": {"name": "RTX 5090", "count": 5}}, "at most 4"),
    ],
)
def test_what_cannot_be_rented_is_said_before_anything_is_asked(
    sim: Running, provider: AutodlProvider, box: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        provider.create(Order("x", BoxFile.model_validate({"provider": "autodl", **box})))
    assert caught.value.hint
    assert sim.server.calls == []


def test_the_guard_goes_in_with_the_call_and_starts_again_with_the_box(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(Order("gpubox-a-1", BOX, power_off_after=timedelta(hours=8))))
    provider.ready(box, print)
    assert paper(sim).start_command == shell_guard(8 * 3600)
    provider.power_off(box)
    provider.power_on(box)
    provider.ready(box, print)
    assert paper(sim).boots == 2
    assert paper(sim).start_command == shell_guard(8 * 3600)


def test_endpoint_and_password_are_others_after_every_power_change(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    first = provider.ready(box, print)
    assert (first.endpoint.host, first.endpoint.port) == ("127.0.0.1", paper(sim).port)
    assert first.password == paper(sim).password
    assert "password" not in repr(first)
    provider.power_off(box)
    provider.power_on(box)
    second = provider.ready(box, print)
    assert second.password == paper(sim).password != first.password
    assert second.endpoint.port == paper(sim).port


def test_running_is_not_ready_before_the_ssh_server_greets(sim: Running, provider: AutodlProvider) -> None:
    sim.machines.deaf_seconds = 120  # type: ignore[attr-defined]
    said: list[str] = []
    box = record("autodl", provider.create(ORDER))
    begun = sim.clock.now()
    rented = provider.ready(box, said.append)
    assert (sim.clock.now() - begun).total_seconds() >= 120
    assert said == [
        "AutoDL makes the box",
        "AutoDL starts the box",
        "the box runs; its SSH server does not answer yet",
    ]
    assert rented.price is not None
    assert rented.price.per_hour == Decimal("1.88")
    assert rented.price.currency == "CNY"


def test_a_start_that_takes_too_long_says_that_it_may_bill(sim: Running, provider: AutodlProvider) -> None:
    sim.machines.deaf_seconds = 1e9  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="SSH server does not answer yet") as caught:
        provider.ready(record("autodl", provider.create(ORDER)), print)
    assert "gpubox ls" in str(caught.value.hint)


def test_a_power_off_while_the_box_starts_is_lost_and_asked_again(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.power_off(box)
    assert provider.state(box) == "stopped"
    assert sim.server.count("power_off") >= 2
    assert sim.account.billing() == []


def test_a_power_off_that_is_refused_while_the_box_stops_is_no_failure(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    # Another gpubox asked between our look and our request.
    sim.faults.restart().act("power_off", lambda: sim.account.power_off(str(box.provider_ref)), done=False)
    provider.power_off(box)
    assert provider.state(box) == "stopped"


def test_a_power_off_that_is_always_refused_ends_with_its_words(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.faults.restart().error("power_off", times=sim.faults.ALWAYS, code="BadRequest", message="不行")
    with pytest.raises(Unreachable, match="BadRequest: 不行"):
        provider.power_off(box)
    assert sim.server.count("power_off") == 3


def test_release_is_refused_for_a_box_that_runs(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    with pytest.raises(Failed, match="请在实例关机状态下执行释放操作") as caught:
        provider.release(box)
    assert caught.value.hint == "gpubox stop NAME"
    assert provider.state(box) == "running"
    provider.power_off(box)
    provider.release(box)
    provider.release(box)  # gone already
    assert provider.state(box) == "gone"


def test_a_power_on_whose_answer_is_lost_is_looked_for(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    provider.power_off(box)
    sim.faults.restart().drop("power_on")
    provider.power_on(box)
    assert sim.server.count("power_on") == 1
    provider.ready(box, print)
    assert paper(sim).boots == 2


def test_a_power_on_that_never_arrived_is_made_again(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    provider.power_off(box)
    sim.faults.restart().drop("power_on", done=False)
    provider.power_on(box)
    assert provider.state(box) == "starting"
    provider.power_off(box)
    sim.faults.restart().http("power_on", times=2)
    with pytest.raises(Unreachable, match="HTTP 500"):
        provider.power_on(box)


def test_a_power_on_right_after_a_power_off_waits_for_its_end(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.account.power_off(str(box.provider_ref))
    assert provider.state(box) == "stopping"
    provider.power_on(box)
    assert provider.state(box) == "starting"


def test_a_box_that_went_off_by_itself_bills_no_more(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.clock.advance(hours=1)
    paper(sim).shut_down_by_itself()
    assert provider.state(box) == "stopped"
    spent = sim.account.bill(str(box.provider_ref))
    sim.clock.advance(days=1)
    assert sim.account.bill(str(box.provider_ref)) == spent
    assert Decimal("1.88") < spent < Decimal("1.90")


def test_a_box_that_goes_off_while_it_starts_is_a_failure(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    sim.clock.advance(8)
    assert provider.state(box) == "starting"
    sim.machines.deaf_seconds = 1e9  # type: ignore[attr-defined]
    sim.faults.act("snapshot", paper(sim).shut_down_by_itself)
    with pytest.raises(Failed, match="went off while it was starting"):
        provider.ready(box, print)


def test_a_box_hangs_on_an_account_without_money(provider: AutodlProvider) -> None:
    with autodl(deposit=Decimal("0.30")) as sim:
        poor = provider_of(sim)
        box = record("autodl", poor.create(ORDER))
        with pytest.raises(Unreachable, match="AutoDL starts the box") as caught:
            poor.ready(box, print)
        assert "0.30 CNY left" in str(caught.value.hint)


def test_money_falls_with_time_and_ends_the_box(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    before = provider.balance()
    sim.clock.advance(hours=10)
    after = provider.balance()
    assert before is not None
    assert after is not None
    assert before.amount - after.amount == pytest.approx(Decimal("18.8"), abs=Decimal("0.002"))
    sim.clock.advance(hours=50)
    assert provider.state(box) == "stopped"
    assert sim.account.billing() == []


def test_the_list_is_read_to_its_end(provider: AutodlProvider) -> None:
    with autodl(page_limit=2) as sim:
        paged = provider_of(sim)
        refs = [paged.create(Order(f"gpubox-{number}", BOX)) for number in range(5)]
        assert [row.ref for row in paged.alive()] == refs[::-1]
        assert sim.server.count("list") == 3
        assert paged.find("gpubox-0") == refs[0]


def test_a_list_that_changes_while_it_is_read_is_read_anew(provider: AutodlProvider) -> None:
    with autodl(page_limit=2, creating_seconds=0, starting_seconds=0, stopping_seconds=0) as sim:
        paged = provider_of(sim)
        refs = [paged.create(Order(f"gpubox-{number}", BOX)) for number in range(5)]
        paged.power_off(record("autodl", refs[4]))
        # The newest goes away behind the first page: what was third is on no page that is read.
        sim.faults.restart().act("list", lambda: sim.account.release(refs[4]))
        assert paged.find("gpubox-2") == refs[2]
        assert [row.ref for row in paged.alive()] == refs[3::-1]


def test_a_list_that_lies_about_its_length_is_not_taken_for_whole(sim: Running, provider: AutodlProvider) -> None:
    provider.create(ORDER)
    whole = {"list": [], "page_index": 1, "page_size": 100, "max_page": 1, "result_total": 1}
    answers(sim, "list", whole)
    with pytest.raises(Unreachable, match="as many rows"):
        provider.alive()


@pytest.mark.parametrize("data", [None, [], "x", {"list": [{}], "max_page": 1, "result_total": 1}])
def test_an_answer_that_lacks_what_it_must_have_is_no_empty_list(
    sim: Running, provider: AutodlProvider, data: object
) -> None:
    answers(sim, "list", data)
    with pytest.raises(Unreachable, match="documentation"):
        provider.alive()


def test_create_needs_a_ref_in_its_answer(sim: Running, provider: AutodlProvider) -> None:
    answers(sim, "create", None)
    with pytest.raises(Unreachable, match="nobody can tell"):
        provider.create(ORDER)


def test_state_asks_the_list_before_it_says_gone(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.faults.restart().error("status", code="RecordNotFoundError", message="未查询到相关实例")
    assert provider.state(box) == "running"


@pytest.mark.parametrize(
    ("status", "state", "billing"),
    [
        ("creating", "starting", True),
        ("starting", "starting", True),
        ("running", "running", True),
        ("shutting_down", "stopping", True),
        ("shutdown", "stopped", False),
        ("re_initializing", "starting", True),
        ("abnormal", "unknown", True),  # what nobody has seen is taken to bill
    ],
)
def test_every_status_has_a_state(
    sim: Running, provider: AutodlProvider, status: str, state: str, billing: bool
) -> None:
    box = record("autodl", provider.create(ORDER))
    row = {"uuid": box.provider_ref, "status": status, "name": "x"}
    answers(sim, "status", status)
    answers(sim, "list", {"list": [row], "max_page": 1, "result_total": 1})
    assert provider.state(box) == state
    assert [(shown.state, shown.billing) for shown in provider.alive()] == [(state, billing)]


def test_a_stopped_box_shows_when_autodl_deletes_it(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    assert provider.alive()[0].erase_at is None
    provider.power_off(box)
    (shown,) = provider.alive()
    assert shown.state == "stopped"
    assert shown.erase_at is not None
    assert timedelta(days=14, hours=23) < shown.erase_at - sim.clock.now() <= timedelta(days=15)
    assert shown.stopped_at == shown.erase_at - timedelta(days=15)
    sim.clock.advance(days=15)
    assert provider.state(box) == "gone"


def test_the_list_shows_what_a_box_is_and_costs(sim: Running, provider: AutodlProvider) -> None:
    wide = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "H800", "count": 2}})
    box = record("autodl", provider.create(Order("gpubox-wide-1", wide)))
    provider.ready(box, print)
    (shown,) = provider.alive()
    assert (shown.gpu, shown.gpu_count, shown.name) == ("H800", 2, "gpubox-wide-1")
    assert shown.price is not None
    assert shown.price.per_hour == Decimal("17.76")
    assert shown.created_at is not None
    assert abs(shown.created_at - sim.clock.now()) < timedelta(minutes=2)
    # A list of what bills does not fail on one price.
    sim.faults.restart().http("snapshot", times=sim.faults.ALWAYS)
    assert [row.price for row in provider.alive()] == [None]


def test_an_image_is_saved_of_a_stopped_box(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    with pytest.raises(Failed, match="powered-off box"):
        provider.save_image(box, "mine")
    provider.power_off(box)
    image = provider.save_image(box, "mine")
    assert [(one.image_uuid, one.name, one.status) for one in provider.images()] == [(image, "mine", "creating")]
    sim.clock.advance(61)
    assert provider.images()[0].status == "finished"


def answers(sim: Running, operation: str, data: object) -> None:
    """From now on the simulator answers that operation with that data."""
    app = sim.server.app
    original: Callable[..., object] = getattr(app, f"_{operation}")
    assert original is not None
    setattr(app, f"_{operation}", lambda _: data)
