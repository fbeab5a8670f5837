"""`gpubox sweep --adopt` and `--release`, with accounts in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from gpubox import sweep as sweeping
from gpubox.errors import Unreachable
from gpubox.providers import Price
from gpubox.sweep import sweep

from .fakes import MemoryProvider, alive
from .sweeping import ORDER, known, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import Ledger

    from .conftest import Done


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
