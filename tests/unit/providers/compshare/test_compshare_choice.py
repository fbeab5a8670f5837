"""CompShare's answers, read and decided upon: one fixture file for each case, `fixtures/<case>.yml`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gpubox.errors import Failed, GpuboxError, NoStock, UsageError
from gpubox.providers.compshare import choice, hosts

if TYPE_CHECKING:
    from gpubox.providers.base import Price

CASES = sorted((Path(__file__).parent / "fixtures").glob("*.yml"))
ERRORS: dict[str, type[GpuboxError]] = {"Failed": Failed, "NoStock": NoStock, "UsageError": UsageError}


def price(answer: Price | None) -> list[str] | None:
    return [str(answer.per_hour.normalize()), str(answer.stopped_per_hour.normalize())] if answer else None


def decided(case: dict[str, Any]) -> object:
    """What the function under test makes of the case's input, as YAML can say it."""
    given, asked = case["given"], case.get("asked", {})
    match case["decide"]:
        case "size":
            size = choice.choose_size(choice.sizes(given), **asked)
            return [size.gpus, size.cpus, size.ram_gib]
        case "card":
            return choice.choose_card(asked["card"], choice.kinds(given, asked["zone"]))
        case "sizes":
            (kind,) = choice.kinds(given, asked["zone"])
            chosen = choice.sizes_for(kind, count=asked["count"], ram_gib=asked.get("ram_gib"))
            return [[size.gpus, size.cpus, size.ram_gib] for size in chosen]
        case "image":
            return choice.choose_image(given, asked["card"])
        case "quote":
            return price(choice.quote(given, asked["charge"]))
        case "host":
            return described(hosts.Host(given))
    raise AssertionError(case["decide"])


def described(host: hosts.Host) -> dict[str, object]:
    where = hosts.endpoint(host)
    planned = hosts.planned_stop(host)
    row = hosts.alive(host)
    return {
        "state": host.state,
        "price": price(hosts.price(host)),
        "endpoint": str(where) if where else None,
        "password": hosts.password(host),
        "planned_stop": planned.isoformat() if planned else None,
        "billing": row.billing,
        "erase_at": row.erase_at.isoformat() if row.erase_at else None,
        "region": host.where["Region"],
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    if error := case.get("error"):
        with pytest.raises(ERRORS[error["type"]], match=error["words"]) as caught:
            decided(case)
        if hint := error.get("hint"):
            assert hint in str(caught.value.hint)
        return
    found = decided(case)
    wanted = case["wanted"]
    if isinstance(wanted, dict) and isinstance(found, dict):
        assert {name: found[name] for name in wanted} == wanted
    else:
        assert found == wanted


def test_there_are_cases() -> None:
    assert len(CASES) > 15


@pytest.mark.parametrize("amount", [None, True, "", "many", "NaN", float("inf")])
def test_what_is_no_price(amount: object) -> None:
    assert hosts.per_hour(amount, "Postpay") is None
    assert hosts.per_hour("0.30", "Postpay") == Decimal("0.30")
