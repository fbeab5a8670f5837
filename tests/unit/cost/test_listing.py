"""`gpubox ls`: power, money and deadlines out of the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpubox.cli.group import gpubox
from gpubox.cli.listing import WIDTH
from gpubox.cli.show import screen_width
from gpubox.ledger import Ledger, store

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time that every ledger goes by: its one element."""
    at = [NOON]
    monkeypatch.setattr(store, "_utc_now", lambda: at[0])
    return at


def ls(*args: str) -> tuple[str, str]:
    done = CliRunner().invoke(gpubox, ["ls", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_columns_that_no_box_needs_are_left_out(now: list[datetime]) -> None:
    with Ledger() as ledger:
        ledger.add("mine", "attach", state="running", host="connect.westb.seetacloud.com", port=38076, user="root")
        ledger.add("plan", "local")
    now[0] += timedelta(minutes=10)
    assert ls()[0].splitlines() == [
        "NAME  PROVIDER  STATE     AGE     LOGIN",
        "mine  attach    running   10 min  root@connect.westb.seetacloud.com:38076",
        "plan  local     intended  10 min  -",
    ]


def test_money_and_deadlines(now: list[datetime]) -> None:
    with Ledger() as ledger:
        ledger.add(
            "serve",
            "autodl",
            state="running",
            price_per_hour="1.98",
            currency="CNY",
            budget="20",
            guard_at=NOON + timedelta(hours=13),
        )
        ledger.add("late", "ec2", state="running", price_per_hour="0.5", currency="USD", budget="1", guard_at=NOON)
        ledger.add("off", "compshare", state="running", price_per_hour="2", stopped_per_hour="0.004", currency="CNY")
        now[0] += timedelta(hours=5)
        ledger.update("off", state="stopped", erase_at=now[0] + timedelta(days=15), guard_at=NOON)
        now[0] += timedelta(hours=5)
    assert ls()[0].splitlines() == [
        "NAME   PROVIDER   STATE    AGE   PRICE/H     SPENT  LEFT   GUARD    ERASED",
        "late   ec2        running  10 h  0.50 USD    5.00   -4.00  overdue  -",
        "off    compshare  stopped  10 h  0.0040 CNY  10.02  -      -        in 15 d",
        "serve  autodl     running  10 h  1.98 CNY    19.80  0.20   in 3 h   -",
    ]


def test_released_boxes_keep_what_they_cost(now: list[datetime]) -> None:
    with Ledger() as ledger:
        for price in ("1", "3"):
            ledger.add(
                "demo",
                "autodl",
                state="running",
                price_per_hour=price,
                currency="CNY",
                budget="9",
                guard_at=NOON,
                erase_at=NOON,
            )
            now[0] += timedelta(hours=1)
            ledger.update("demo", state="released")
    assert ls() == ("", 'no boxes yet: `gpubox demo`, or `gpubox add NAME "ssh -p PORT root@HOST"`\n')
    assert ls("--all")[0].splitlines() == [
        "NAME  PROVIDER  STATE     AGE     SPENT",
        "demo  autodl    released  2 h     1.00",
        "demo  autodl    released  60 min  3.00",
    ]


def test_a_box_whose_rental_is_in_doubt_is_told(now: list[datetime]) -> None:
    with Ledger() as ledger:
        for name in ("asked", "refused", "fresh"):
            ledger.add(name, "autodl", order=ledger.new_order(name))
        ledger.audit("asked", "create", "begun")
        ledger.audit("refused", "create", "begun")
        ledger.audit("refused", "create", "failed", {"reason": "no stock"})
    out, err = ls()
    assert out.splitlines()[1:] == [
        "asked    autodl    in doubt  0 s",
        "fresh    autodl    intended  0 s",
        "refused  autodl    intended  0 s",
    ]
    assert err.startswith("`asked` was asked for")
    assert "`gpubox sweep`" in err
    assert len(err.splitlines()) == 1


def test_chinese_is_aligned_and_a_screen_is_wide_enough(now: list[datetime]) -> None:
    with Ledger() as ledger:
        for name, gpu in (("a", "显卡甲"), ("a-box", "RTX 4090"), ("c", None)):
            ledger.add(
                name,
                "compshare",
                state="running",
                gpu=gpu,
                gpu_count=4 if gpu else None,
                price_per_hour="11.98",
                currency="CNY",
                budget="1000",
                guard_at=NOON + timedelta(hours=3),
                erase_at=NOON + timedelta(days=9),
                host="connect.westb.seetacloud.com",
                port=38076,
                user="root",
            )
    lines = ls()[0].splitlines()
    assert "LOGIN" not in lines[0]
    assert max(map(screen_width, lines)) <= WIDTH
    assert "4 x 显卡甲" in lines[1]
    column = {screen_width(line[: line.index("11.98 CNY")]) for line in lines[1:]}
    assert column == {screen_width(lines[0][: lines[0].index("PRICE/H")])}


def test_json_has_every_field_and_exact_money(now: list[datetime]) -> None:
    with Ledger() as ledger:
        ledger.add(
            "demo",
            "autodl",
            provider_ref="pro-1",
            order="gpubox-demo-00000000",
            state="running",
            facts={"big": "x" * 1000},
            price_per_hour="1.97",
            currency="CNY",
            budget="50",
            host="h",
            port=22,
            user="root",
        )
        now[0] += timedelta(minutes=20)
        ledger.note_backup("demo", Path("/home/me/b"), files=3, size=4, sha256="c")
        record = ledger.get("demo")
    (told,) = json.loads(ls("--json")[0])
    fields = set(type(record).model_fields) - {"facts"}
    assert set(told) == fields | {
        "endpoint", "age_s", "per_hour", "spent", "budget_left", "in_doubt", "last_backup"
    }  # fmt: skip
    assert (told["spent"], told["budget_left"], told["per_hour"]) == ("0.65667", "49.34333", "1.97")
    assert told["last_backup"] == {
        "at": "2026-11-02T12:20:00Z",
        "place": "/home/me/b",
        "files": 3,
        "size": 4,
        "sha256": "c",
    }
    assert (told["endpoint"], told["age_s"], told["in_doubt"]) == ("root@h:22", 1200, False)


def test_nobody_is_asked_and_nothing_heavy_is_loaded(gpubox_home: Path) -> None:
    program = """
import sys, socket
def refuse(*args, **kwargs): raise AssertionError("a socket")
socket.socket.connect = refuse
sys.argv = ["gpubox", "ls"]
from gpubox.cli import main
try:
    main()
finally:
    print(sorted({"paramiko", "fabric", "keyring", "httpx"} & set(sys.modules)))
"""
    with Ledger() as ledger:
        ledger.add("demo", "autodl", state="running", price_per_hour="1", currency="CNY")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "demo  autodl" in done.stdout
