"""The role `guard` run for real, with a `boxctl` that only writes down what it is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from unit.ansible.conftest import Ansible

ROLE = [{"name": "Guard", "ansible.builtin.import_role": {"name": "guard"}}]
PUSH = "schan://s3cr3t"


def _variables(ansible: Ansible, **more: object) -> dict[str, Any]:
    return {"gpubox_root": str(ansible.root), "guard_box": "mine", "guard_marker": "", **more}


def test_twice_is_once_and_checking_is_nothing(ansible: Ansible) -> None:
    variables = _variables(
        ansible, guard_ttl="8h", guard_budget=5, guard_price_per_hour=1.5, guard_push_urls=[PUSH],
        guard_before_stop={"command": "true"},
    )  # fmt: skip
    place = ansible.root / "guard"
    checked = ansible.play(ROLE, "--check", "--diff", variables=variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert not place.exists()
    first = ansible.play(ROLE, "--diff", "-v", variables=variables)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "s3cr3t" not in checked.stdout + first.stdout + first.stderr
    settings = json.loads((place / "settings.json").read_text())
    assert (settings["ttl"], settings["budget"], settings["price_per_hour"]) == ("8h", 5.0, 1.5)
    assert settings["before_stop"]["command"] == "true"
    assert json.loads((place / "push.json").read_text()) == {"urls": [PUSH]}
    assert oct(place.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in place.iterdir()} == {"0o600"}
    assert (ansible.root / "lib/boxguard/loop.py").exists()
    assert "s3cr3t" not in str(ansible.calls()) + str(ansible.stdins())
    second = ansible.play(ROLE, variables=variables)
    assert "changed=0" in second.stdout, second.stdout


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "set at least one of `guard.ttl`, `guard.idle` and `guard.budget`"),
        ({"guard_budget": 5}, "a budget needs a price"),
        ({"guard_ttl": "8h", "guard_push_urls": ["slack://s3cr3t/a/b"]}, "a box can push to these kinds"),
    ],
)
def test_what_is_wrong_is_said(ansible: Ansible, variables: dict[str, Any], words: str) -> None:
    done = ansible.play(ROLE, variables=_variables(ansible, **variables))
    assert done.returncode != 0
    assert words in done.stdout
    assert "s3cr3t" not in done.stdout + done.stderr


def test_settings_that_the_role_writes_are_read_by_the_guard(ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
    from unit.ansible.conftest import CHECKOUT

    monkeypatch.syspath_prepend(CHECKOUT / "roles/guard/files")
    from boxguard import settings

    done = ansible.play(ROLE, variables=_variables(ansible, guard_idle="30m", guard_since="2026-01-02T03:04:05+00:00"))
    assert done.returncode == 0, done.stdout
    read = settings.read(ansible.root / "guard" / "settings.json")
    assert (read.ttl, read.idle, read.budget, read.warn) == (None, 1800, None, 600)
    assert read.since == 1767323045
    assert read.power_off[0] == "/bin/sh"
