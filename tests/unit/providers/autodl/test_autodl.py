"""Provider `autodl` against the simulated Pro API: what every provider holds, and AutoDL's own ways."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Balance, Order
from gpubox.providers.first_guard import shell_guard
from sim.autodl import Running, autodl
from sim.promises import Promises, record

from .world import BOX, ORDER, answers, asked, paper, provider_of


class TestPromises(Promises):
    """Those of every provider."""


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
