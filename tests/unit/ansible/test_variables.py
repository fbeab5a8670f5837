"""What a box file becomes: one fixture per case in fixtures/variables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from gpubox import paths
from gpubox.boxfile import BoxFile
from gpubox.converge.variables import digest, role_variables
from gpubox.durations import duration
from gpubox.errors import UsageError
from gpubox.ledger import BoxRecord
from gpubox.orders import DEFAULT_TTL
from gpubox.remote.facts import Facts
from unit.ansible.conftest import HERE

if TYPE_CHECKING:
    from pathlib import Path

CASES = sorted((HERE / "fixtures/variables").glob("*.yml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_variables(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    box = BoxFile.model_validate(case["box"])
    facts = Facts.model_validate(case["facts"]) if "facts" in case else None
    environ = case.get("environ", {})
    at = {"created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-02-03T04:05:06Z"}
    record = BoxRecord.model_validate({**case["record"], **at}) if "record" in case else None
    got = role_variables(box, root=case["root"], data_dir=case["data_dir"], facts=facts, record=record, environ=environ)
    whole = got.pop("gpubox_box")
    assert BoxFile.model_validate(whole) == box
    # The one value that depends on this machine.
    if "small_gpt_cache_dir" in got:
        got["small_gpt_cache_dir"] = str(got["small_gpt_cache_dir"]).replace(str(paths.cache_dir()), "$GPUBOX_CACHE")
    assert got == case["variables"]
    json.dumps(got)


def test_a_secret_that_is_not_there_is_named() -> None:
    box = BoxFile.model_validate(
        {"provider": "attach", "engine": "vllm", "model": "small-gpt", "vllm": {"api_key": "MY_KEY"}}
    )
    with pytest.raises(UsageError, match="`MY_KEY`"):
        role_variables(box, root="/r", data_dir="/d", facts=None, environ={})


def test_where_the_guard_pushes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    box = BoxFile.model_validate({"provider": "attach", "guard": {"ttl": "8h"}, "notify": True})
    monkeypatch.delenv("GPUBOX_NOTIFY", raising=False)
    with pytest.raises(UsageError, match="nowhere to push"):
        role_variables(box, root="/r", data_dir="/d", facts=None)
    monkeypatch.setenv("GPUBOX_NOTIFY", "schan://KEY,tgram://12:ab/3")
    assert role_variables(box, root="/r", data_dir="/d", facts=None)["guard_push_urls"] == [
        "schan://KEY",
        "tgram://12:ab/3",
    ]


def test_a_box_without_a_guard_lives_as_long_as_its_first_guard_lets_it() -> None:
    box = BoxFile.model_validate({"provider": "autodl"})
    ttl = role_variables(box, root="/r", data_dir="/d", facts=None)["guard_ttl"]
    assert duration(str(ttl)) == DEFAULT_TTL


def test_digest_depends_on_content_only() -> None:
    one = digest("sha", {"a": 1, "b": [1, 2]})
    assert one == digest("sha", {"b": [1, 2], "a": 1})
    assert len({one, digest("other", {"a": 1, "b": [1, 2]}), digest("sha", {"a": 1, "b": [2, 1]})}) == 3
