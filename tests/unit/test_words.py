"""Nearest words, and what must not be shown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpubox.words import counted, did_you_mean, exact, is_secret_name, money, redacted


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_model_length", "max_model_len"),
        ("MAX-MODEL-LEN", "max_model_len"),
        ("prot", "port"),
        ("colour", None),
        ("", None),
    ],
)
def test_the_nearest_word(given: str, meant: str | None) -> None:
    assert did_you_mean(given, ["port", "max_model_len", "version"]) == meant


@pytest.mark.parametrize("name", ["password", "api_key", "HF_TOKEN", "rootPassword", "client-secret", "key", "APIKEY"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_new_tokens", "keep", "host_key", "public_key", "port", "monkey", ""])
def test_names_of_what_may_be_shown(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_are_hidden_at_any_depth() -> None:
    value = {"a": [{"password": "x"}, ("y",)], "token": ["z"], "n": 1}
    assert redacted(value) == {"a": [{"password": "(hidden)"}, ["y"]], "token": "(hidden)", "n": 1}


@pytest.mark.parametrize(("count", "shown"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_counts(count: int, shown: str) -> None:
    assert counted(count, "file") == shown
    assert counted(count, "box", "boxes") == ("1 box" if count == 1 else f"{count} boxes")


@pytest.mark.parametrize(
    ("amount", "shown", "told"),
    [
        ("12.346", "12.35 CNY", "12.346"),
        ("12.3", "12.30 CNY", "12.3"),
        ("0", "0.00 CNY", "0"),
        ("0.00014", "0.0001 CNY", "0.00014"),
        ("-1.2", "-1.20 CNY", "-1.2"),
        ("-0.0000001", "-0.0000 CNY", "0"),
        ("1E+3", "1000.00 CNY", "1000"),
        (
            "123456789012345678901234567890.5",
            "123456789012345678901234567890.50 CNY",
            "123456789012345678901234567890.5",
        ),
    ],
)
def test_money(amount: str, shown: str, told: str) -> None:
    assert money(Decimal(amount), "CNY") == shown
    assert exact(Decimal(amount)) == told
    assert exact(None) is None
