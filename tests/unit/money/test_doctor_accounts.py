"""`gpubox doctor` and the configured accounts."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from gpubox.doctor import doctor_accounts
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.preflight.findings import blocker, ok, warning

from .fakes import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from .conftest import Done


def test_each_account_is_judged_under_its_name_and_nothing_is_rented(
    give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    autodl = MemoryProvider(findings=[ok("autodl-account", "accepted"), warning("autodl-balance", "3 CNY", "top up")])
    ec2 = MemoryProvider("ec2", findings=[ok("key", "AWS account 1"), ok("permissions", "dry run")])
    give(autodl, ec2)
    done = gpubox("doctor", "--json")
    assert done.code == 0
    found = {row["check"]: row["level"] for row in json.loads(done.out)["findings"]}
    assert {key: found[key] for key in found if key.startswith(("autodl", "ec2"))} == {
        "autodl-account": "ok",
        "autodl-balance": "warning",
        "ec2: key": "ok",
        "ec2: permissions": "ok",
    }
    assert found["ledger"] == "ok"
    assert autodl.calls == ec2.calls == [("check", "")]


def test_a_key_that_is_not_accepted_is_a_blocker(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(MemoryProvider(fails={"check": AuthFailed("the token is not valid", hint="make a new one")}))
    done = gpubox("doctor")
    assert done.code == 1
    assert "✗ autodl: the token is not valid\n    fix: make a new one" in done.out
    give(MemoryProvider("ec2", findings=[blocker("permissions", "may not run_instances", "allow it")]))
    assert gpubox("doctor").code == 1


def test_an_account_out_of_reach_is_a_warning(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(MemoryProvider(fails={"check": Unreachable("no route")}), MemoryProvider("ec2", findings=[ok("key", "1")]))
    done = gpubox("doctor")
    assert done.code == 0
    assert "! autodl: no route" in done.out
    assert "✓ ec2: key" in done.out
    give(MemoryProvider(fails={"check": Failed("a page of HTML")}))
    (finding,) = doctor_accounts()
    assert (finding.level, finding.fix) == ("blocker", "see docs/provider-autodl.md")


def test_a_library_that_only_an_unused_account_needs_is_no_blocker(give: Callable[..., None]) -> None:
    """Whoever has keys for other work in `~/.aws` has not asked gpubox to rent there."""
    give(MemoryProvider("ec2", fails={"check": UsageError("no boto3", hint="pip install 'gpubox[ec2]'")}))
    (finding,) = doctor_accounts()
    assert (finding.level, finding.fix) == ("warning", "pip install 'gpubox[ec2]'")


def test_one_that_hangs_does_not_hold_up_the_others(give: Callable[..., None]) -> None:
    hangs = threading.Event()
    give(MemoryProvider(waits=hangs), MemoryProvider("ec2", findings=[ok("key", "1")]))
    found = doctor_accounts(limit=0.5)
    hangs.set()
    assert [(finding.check, finding.level) for finding in found] == [("autodl", "warning"), ("ec2: key", "ok")]


def test_no_account_is_no_mistake(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give()
    done = gpubox("doctor")
    assert done.code == 0
    assert "✓ accounts: none is configured" in done.out


def test_where_no_key_can_be_looked_for_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "file" / "below"))
    (finding,) = doctor_accounts()
    assert (finding.level, finding.check) == ("warning", "accounts")
    assert "GPUBOX_HOME" in (finding.fix or "")
