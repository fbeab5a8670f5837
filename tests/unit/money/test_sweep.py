"""What `gpubox sweep` sees, with accounts in memory."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, Failed, Unreachable
from gpubox.ledger import Ledger
from gpubox.sweep import UNSEEN, sweep

from .fakes import MemoryProvider, alive
from .sweeping import ORDER, known, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done


def test_all_known_is_all_clear(ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    known(ledger)
    give(MemoryProvider().has(alive("pro-1")))
    done = gpubox("sweep")
    assert done.code == 0
    assert "autodl:pro-1" in done.out
    assert "known" in done.out
    assert done.err == f"billing now: 1.98 CNY per hour\nnote: {UNSEEN['autodl']}\n"


def test_no_box_at_all(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(MemoryProvider())
    done = gpubox("sweep")
    assert (done.code, done.out, done.err) == (0, "", f"no box on autodl\nnote: {UNSEEN['autodl']}\n")
    give(MemoryProvider("ec2"))
    assert gpubox("sweep").err == "no box on ec2\n"


def test_something_unknown_that_bills_is_code_3(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    known(ledger)
    known(ledger, "old", "pro-4")
    ledger.update("old", state="released")
    give(MemoryProvider().has(alive("pro-1"), alive("pro-2", ORDER), alive("pro-3", "mine"), alive("pro-4")))
    done = gpubox("sweep")
    assert done.code == 3
    words = {line.split()[0]: line for line in done.out.splitlines()[1:]}
    assert "FORGOTTEN" in words["autodl:pro-2"]
    assert "UNKNOWN" in words["autodl:pro-3"]
    assert "ALIVE AFTER RELEASE" in words["autodl:pro-4"]
    assert "billing now: 7.92 CNY per hour, of which the ledger does not know 5.94" in done.err
    assert "3 boxes that bill are not in the ledger" in done.err
    assert "gpubox sweep --release autodl:pro-" in done.err


def test_something_unknown_that_costs_nothing_is_shown_and_no_alarm(
    give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    give(MemoryProvider().has(alive("pro-3", "mine", state="stopped", billing=False)))
    done = gpubox("sweep")
    assert done.code == 0
    assert "UNKNOWN" in done.out
    assert "not billed" in done.out


def test_other_work_on_the_same_account_can_be_left_out(
    give: Callable[..., None], gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(MemoryProvider("ec2").has(alive("eu-west-1/i-1", "web server"), alive("eu-west-1/i-2", ORDER)))
    done = gpubox("sweep", "--ignore", "ec2:us-*", "--ignore", "ec2:eu-west-1/*")
    # What gpubox ordered itself is not anybody's other work.
    assert done.code == 3
    assert "a box that bills is not in the ledger: `ec2:eu-west-1/i-2`" in done.err
    assert "ignored" in next(line for line in done.out.splitlines() if "web server" in line)
    assert gpubox("sweep", "--adopt", "i-2", "--name", "lost").code == 0
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert gpubox("sweep", "--ignore", "ec2:*").code == 0, "and nobody is asked about it"


def test_json(ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    known(ledger, "gone", "pro-9")
    give(
        MemoryProvider().has(alive("pro-2", ORDER, price=None, erase_at=datetime(2026, 3, 16, tzinfo=UTC))),
        MemoryProvider("ec2", fails={"alive": AuthFailed("no such key")}),
    )
    done = gpubox("sweep", "--json")
    assert done.code == 3
    answer = json.loads(done.out)
    assert answer["asked"] == ["autodl"]
    assert answer["not_asked"] == [{"provider": "ec2", "error": "no such key"}]
    assert answer["missing"] == [{"name": "gone", "provider": "autodl", "provider_ref": "pro-9"}]
    assert answer["bills"] == [{"currency": None, "per_hour": "0", "alarming": "0", "unpriced": 1}]
    (box,) = answer["boxes"]
    assert (box["ref"], box["mark"], box["name"], box["per_hour"]) == ("autodl:pro-2", "forgotten", "lost", None)
    assert box["erase_at"] == "2026-03-16T00:00:00+00:00"


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ({"ec2": Unreachable("no route")}, 5),
        ({"ec2": AuthFailed("no such key")}, 4),
        ({"ec2": Unreachable("no route"), "compshare": AuthFailed("no such key")}, 4),
        ({"ec2": Failed("a page of HTML")}, 1),
    ],
)
def test_an_account_that_does_not_answer_is_never_all_clear(
    give: Callable[..., None], gpubox: Callable[..., Done], errors: dict[str, Exception], code: int
) -> None:
    failing = [MemoryProvider(name, fails={"alive": error}) for name, error in errors.items()]  # type: ignore[dict-item]
    give(MemoryProvider(), *failing)
    done = gpubox("sweep")
    assert done.code == code
    assert "is not known" in done.err
    assert done.err.count("warning: ") == len(errors)
    give(MemoryProvider().has(alive("pro-2")), *failing)
    assert gpubox("sweep").code == 3


def test_an_account_that_hangs_is_not_waited_for(give: Callable[..., None]) -> None:
    hangs = threading.Event()
    give(MemoryProvider().has(alive("pro-2")), MemoryProvider("ec2", waits=hangs))
    swept = sweep(limit=0.5)
    hangs.set()
    assert [seen.ref for seen in swept.boxes] == ["autodl:pro-2"]
    assert [answer.provider for answer in swept.not_asked] == ["ec2"]


def test_a_box_on_an_account_whose_key_is_lost_is_no_all_clear(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    known(ledger, provider="compshare")
    give(MemoryProvider())
    ledger.add("attached", "attach", state="running")
    give(MemoryProvider())
    # No key is there: the real provider says so, before it asks anybody.
    done = gpubox("sweep")
    assert done.code == 4
    assert "COMPSHARE" in done.err


def test_without_any_account_it_is_no_all_clear(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give()
    done = gpubox("sweep")
    assert done.code == 4
    assert "AUTODL_TOKEN" in done.err


def test_a_rental_that_was_cut_off_is_found(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    ledger.add("lost", "autodl", order=ORDER)
    ledger.audit("lost", "create", "begun")
    give(MemoryProvider().has(alive("pro-2", ORDER)))
    done = gpubox("sweep")
    assert done.code == 0
    assert "the rental of `lost` was cut off, and it is there: `pro-2`" in done.err
    assert ledger.get("lost").provider_ref == "pro-2"
    assert ledger.get("lost").state == "running"


def test_a_rental_that_may_still_come_is_said(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    ledger.add("lost", "autodl", order=ORDER)
    give(MemoryProvider())
    done = gpubox("sweep")
    assert done.code == 0
    assert "may still come" in done.err
    assert ledger.get("lost").state == "intended"


def test_the_ledger_learns_what_the_list_shows(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    known(ledger)
    erased = datetime(2026, 3, 16, tzinfo=UTC)
    give(MemoryProvider().has(alive("pro-1", state="stopped", billing=False, erase_at=erased)))
    done = gpubox("sweep", "--json")
    assert json.loads(done.out)["learned"] == [{"name": "demo", "was": "running", "now": "stopped"}]
    record = ledger.get("demo")
    assert (record.state, record.erase_at, record.region) == ("stopped", erased, "westDC3")
    assert steps(ledger, "demo") == [("sweep", "done")]
    again = json.loads(gpubox("sweep", "--json").out)
    assert again["learned"] == []
    assert "is stopped" not in gpubox("sweep").err


def test_a_box_that_somebody_works_on_is_left_as_they_say(ledger: Ledger, give: Callable[..., None]) -> None:
    known(ledger)
    give(MemoryProvider().has(alive("pro-1", state="stopped", billing=False)))
    with ledger.lock("demo", shared=True):
        swept = sweep()
    assert swept.learned == ()
    assert swept.boxes[0].ledger_state == "running"
    assert ledger.get("demo").state == "running"


def test_a_box_that_was_started_while_the_list_came_is_not_noted_as_stopped(
    ledger: Ledger, give: Callable[..., None]
) -> None:
    known(ledger, state="stopped")

    class Meanwhile(MemoryProvider):
        def alive(self) -> list:  # type: ignore[type-arg]
            shown = super().alive()
            with Ledger() as other:
                other.update("demo", state="running", host="h")
            return shown

    give(Meanwhile().has(alive("pro-1", state="stopped", billing=False)))
    assert sweep().learned == ()
    assert ledger.get("demo").state == "running"
