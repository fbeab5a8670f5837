"""`gpubox sweep`, with accounts in memory."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from gpubox import sweep as sweeping
from gpubox.errors import AuthFailed, Failed, Unreachable
from gpubox.ledger import Ledger
from gpubox.providers import Price
from gpubox.sweep import UNSEEN, sweep

from .fakes import MemoryProvider, alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Done

ORDER = "gpubox-lost-0a1b2c3d"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger() as opened:
        yield opened


def known(ledger: Ledger, name: str = "demo", ref: str = "pro-1", **fields: object) -> None:
    usual: dict[str, object] = {"state": "running", "price_per_hour": Decimal("1.98"), "currency": "CNY"}
    ledger.add(name, str(fields.pop("provider", "autodl")), provider_ref=ref, **{**usual, **fields})


def steps(ledger: Ledger, name: str) -> list[tuple[str, str]]:
    return [(audit.action, audit.outcome) for audit in ledger.audits(name)]


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


def test_adopt(ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    made = datetime.now(UTC) - timedelta(hours=2)
    give(MemoryProvider().has(alive("pro-2", ORDER, created_at=made), alive("pro-3", "mine")))
    done = gpubox("sweep", "--adopt", "autodl:pro-2", "--name", "found")
    assert done.code == 0
    assert "gpubox up found" in done.err
    record = ledger.get("found")
    assert (record.provider, record.provider_ref, record.state, record.order) == ("autodl", "pro-2", "running", ORDER)
    assert (record.price_per_hour, record.currency, record.gpu) == (Decimal("1.98"), "CNY", "RTX 4090")
    assert ledger.spent("found") == pytest.approx(Decimal("3.96"), abs=Decimal("0.05"))
    assert steps(ledger, "found") == [("adopt", "done")]
    assert gpubox("sweep").code == 3
    answer = json.loads(gpubox("sweep", "--adopt", "pro-3", "--name", "other", "--json").out)
    assert answer == {"name": "other", "provider": "autodl", "provider_ref": "pro-3"}
    assert gpubox("sweep").code == 0


def test_a_released_box_that_is_alive_can_be_adopted(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    known(ledger, "lost", "pro-2", order=ORDER)
    ledger.update("lost", state="released")
    give(MemoryProvider().has(alive("pro-2", ORDER)))
    assert gpubox("sweep").code == 3
    assert gpubox("sweep", "--adopt", "pro-2", "--name", "lost").code == 0
    assert gpubox("sweep").code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--adopt", "pro-1", "--name", "x"), "is the box `demo` of the ledger already"),
        (("--release", "pro-1", "--yes"), "is the box `demo` of the ledger"),
        (("--adopt", "pro-2", "--name", "demo"), "there is a box `demo` already"),
        (("--adopt", "pro-2", "--name", "../x"), "cannot be the name of a box"),
        (("--adopt", "pro-2"), "--name"),
        (("--name", "x"), "--adopt"),
        (("--adopt", "pro-2", "--name", "x", "--release", "pro-2"), "either"),
        (("--release", "autodl:pro-22", "--yes"), "did you mean `autodl:pro-2`"),
        (("--release", "same", "--yes"), "of several accounts"),
    ],
)
def test_bad_wishes(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done], args: tuple[str, ...], words: str
) -> None:
    known(ledger)
    account = MemoryProvider().has(alive("pro-1"), alive("pro-2"), alive("same"))
    give(account, MemoryProvider("ec2").has(alive("same")))
    done = gpubox("sweep", *args)
    assert done.code == 2
    assert words in done.err
    assert len(account.boxes) == 3
    assert [record.name for record in ledger.boxes()] == ["demo"]


def test_a_ref_that_may_be_on_an_account_that_did_not_answer(
    give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    give(MemoryProvider(), MemoryProvider("ec2", fails={"alive": Unreachable("no route")}))
    done = gpubox("sweep", "--release", "i-1", "--yes")
    assert done.code == 5
    assert "what `ec2` has is not known" in done.err


def test_release_shows_the_price_and_the_loss_and_goes_through_the_ledger(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    account = MemoryProvider().has(alive("pro-2", ORDER, created_at=datetime.now(UTC) - timedelta(hours=1)))
    give(account)
    done = gpubox("sweep", "--release", "pro-2", "--yes", "--json")
    assert done.code == 0
    assert "1.98 CNY/h" in done.err
    assert "everything on its disks is lost" in done.err
    given = json.loads(done.out)
    assert (given["name"], given["ref"]) == ("lost", "pro-2")
    assert Decimal(given["spent"]) == pytest.approx(Decimal("1.98"), abs=Decimal("0.05"))
    assert account.boxes == {}
    assert ledger.find("lost") is None
    old = ledger.by_ref("autodl", "pro-2")
    assert old is not None
    assert old.state == "released"
    assert steps(ledger, "lost") == [
        ("adopt", "done"),
        ("power_off", "begun"),
        ("power_off", "done"),
        ("release", "begun"),
        ("release", "done"),
        ("gone", "done"),
    ]


def test_release_asks_and_nobody_there_is_a_no(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    account = MemoryProvider().has(alive("pro-2", ORDER))
    give(account)
    done = gpubox("sweep", "--release", "pro-2")
    assert done.code == 3
    assert "[y/N]" in done.err
    assert list(account.boxes) == ["pro-2"]
    assert ledger.boxes() == []


def test_a_release_that_is_a_lie_leaves_the_box_in_the_ledger(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubox.releasing.UNTIL_GONE", 0.0)
    account = MemoryProvider(sticky={"pro-2"}).has(alive("pro-2", ORDER))
    give(account)
    done = gpubox("sweep", "--release", "pro-2", "--yes")
    assert done.code == 3
    assert "still lists it" in done.err
    assert "gpubox down lost" in done.err
    assert "is gone" not in done.err
    assert ledger.get("lost").provider_ref == "pro-2"


def test_the_last_backup_is_shown_before_a_release(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    known(ledger, "lost", "pro-2")
    ledger.note_backup("lost", Path("/home/me/backups/lost"), files=12, size=4096, sha256="0" * 64)
    ledger.update("lost", state="released")
    give(MemoryProvider().has(alive("pro-2")))
    assert "12 files in /home/me/backups/lost" in gpubox("sweep", "--release", "pro-2").err


def test_in_a_terminal_each_unknown_box_is_asked_about(
    ledger: Ledger, give: Callable[..., None], gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    known(ledger)
    account = MemoryProvider().has(
        alive("pro-1"), alive("pro-2", ORDER), alive("pro-3", "a"), alive("pro-4", "b", price=Price(Decimal(9), "CNY"))
    )
    give(account)
    asked: list[str] = []
    answers = {"autodl:pro-2": "a", "its name": "kept", "autodl:pro-3": "r", "autodl:pro-4": "s"}

    def prompt(text: str, **options: object) -> object:
        asked.append(text.strip())
        return next(answer for words, answer in answers.items() if text.strip().startswith(words))

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr(click, "confirm", lambda *_args, **_options: True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    done = gpubox("sweep")
    assert [text.split(" (")[0] for text in asked if text.startswith("autodl")] == [
        "autodl:pro-2",
        "autodl:pro-3",
        "autodl:pro-4",
    ]
    assert "[a]dopt, [r]elease, [s]kip" in asked[0]
    assert ledger.get("kept").provider_ref == "pro-2"
    assert sorted(account.boxes) == ["pro-1", "pro-2", "pro-4"]
    # What was skipped bills still.
    assert done.code == 3
    assert "a box that bills is not in the ledger: `autodl:pro-4`" in done.err


def test_not_in_a_terminal_nobody_is_asked(
    give: Callable[..., None], gpubox: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(MemoryProvider().has(alive("pro-2")))

    def prompt(*_args: object, **_options: object) -> object:
        raise AssertionError("asked")

    monkeypatch.setattr(click, "prompt", prompt)
    assert gpubox("sweep").code == 3
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert gpubox("sweep", "--json").code == 3


def test_a_killed_release_is_known_to_the_next_sweep(
    ledger: Ledger, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moment it dies at: the box is in the ledger under a name, or as unknown as it was."""
    account = MemoryProvider().has(alive("pro-2", ORDER))
    give(account)

    class Killed(BaseException):
        """Nothing catches it."""

    def die(*_args: object) -> None:
        raise Killed

    monkeypatch.setattr(account, "power_off", die)
    (seen,) = sweep().alarming
    with pytest.raises(Killed):
        sweeping.release(seen, say=lambda _words: None)
    swept = sweep()
    assert swept.alarming == ()
    assert [one.name for one in swept.boxes] == ["lost"]
