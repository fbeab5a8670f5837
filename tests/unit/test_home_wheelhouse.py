"""Wheels at home: out of a backup, once and whole, and onto the box that can use them."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gpubox import wheelhouse

if TYPE_CHECKING:
    from pathlib import Path

FILE = "flash_attn-2.8.3-cp312-cp312-linux_x86_64.whl"


def saved(backup: Path, **changes: str) -> str:
    """Put a wheel into a backup; its key."""
    about = {
        "package": "flash_attn", "version": "2.8.3", "torch": "2.8.0", "cuda": "12.8", "abi": "TRUE", "python": "cp312",
        "machine": "x86_64", "arch": "80", "file": FILE, "sha256": hashlib.sha256(b"wheel").hexdigest(),
        "origin": "built", **changes,
    }  # fmt: skip
    key = "-".join(
        [about["package"], about["version"], f"torch{about['torch']}", f"sm{about['arch']}", about.get("variant", "")]
    )
    place = backup / "files/wheelhouse" / key
    place.mkdir(parents=True)
    (place / "wheel.json").write_text(json.dumps(about))
    (place / FILE).write_bytes(b"wheel")
    return key


def test_a_backup_leaves_its_wheels_once(tmp_path: Path) -> None:
    key = saved(tmp_path)
    assert [wheel.key for wheel in wheelhouse.store(tmp_path)] == [key]
    assert wheelhouse.store(tmp_path) == ()
    (kept,) = wheelhouse.wheels()
    assert (kept.key, kept.arch, kept.size) == (key, "80", 5)
    assert {path.name for path in wheelhouse.house().iterdir()} == {key}


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"file": f"../{FILE}"}])
def test_what_is_not_what_it_says_is_not_taken(tmp_path: Path, change: dict[str, str]) -> None:
    saved(tmp_path, **change)
    assert wheelhouse.store(tmp_path) == ()
    assert wheelhouse.wheels() == ()


def test_a_backup_without_wheels(tmp_path: Path) -> None:
    assert wheelhouse.store(tmp_path) == ()


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 0),
        ({"vllm_flash_attn": True}, 3),
        ({"flash_attn_env_name": "vllm", "flash_attn_torch": "2.8.1+cu128"}, 2),
        ({"flash_attn_env_name": "vllm", "flash_attn_torch": "2.8.0", "flash_attn_archs": "80"}, 1),
        ({"flash_attn_env_name": "vllm", "flash_attn_torch": "2.8.0", "flash_attn_cuda": "12.6"}, 0),
        ({"flash_attn_env_name": "vllm", "flash_attn_version": "2.7.4.post1"}, 0),
    ],
)
def test_what_fits_a_box(tmp_path: Path, variables: dict[str, object], count: int) -> None:
    for changes in ({}, {"torch": "2.7.1"}, {"arch": "80;90"}):
        saved(tmp_path, **changes)
    wheelhouse.store(tmp_path)
    assert len(wheelhouse.fitting(variables, wheelhouse.wheels())) == count


KT = {"gpubox_engine": "ktransformers", "ktransformers_recipe": "classic", "ktransformers_torch": "2.6.0"}


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        (KT, 2),
        ({**KT, "ktransformers_recipe": "current"}, 0),
        ({**KT, "ktransformers_use_numa": True}, 1),
        ({**KT, "ktransformers_version": "0.3.1"}, 0),
        ({**KT, "ktransformers_cuda_archs": "9.0"}, 0),
        ({"vllm_flash_attn": True}, 0),
    ],
)
def test_what_fits_a_box_with_ktransformers(tmp_path: Path, variables: dict[str, object], count: int) -> None:
    """Which CPU a native build was made for the box itself compares."""
    for variant in ("native.0a1b", "native.2c3d-serve", "native.0a1b-numa"):
        changes = {"package": "ktransformers", "version": "0.3.2", "torch": "2.6.0", "cuda": "12.4", "arch": "8.9"}
        saved(tmp_path, **changes, variant=variant)
    wheelhouse.store(tmp_path)
    assert len(wheelhouse.fitting(variables, wheelhouse.wheels())) == count


def test_only_what_the_box_lacks_is_sent_and_its_description_last(tmp_path: Path) -> None:
    there, missing = saved(tmp_path), saved(tmp_path, torch="2.7.1")
    wheelhouse.store(tmp_path)
    put: list[str] = []
    host = SimpleNamespace(
        run=lambda _, **__: SimpleNamespace(stdout=f"/r x/wheelhouse/{there}/wheel.json\n"),
        put=lambda _source, target, **_: put.append(target),
    )
    sent = wheelhouse.send(cast("Any", host), "/r x", wheelhouse.wheels())
    assert [wheel.key for wheel in sent] == [missing]
    assert put == [f"/r x/wheelhouse/{missing}/{FILE}", f"/r x/wheelhouse/{missing}/wheel.json"]
    assert wheelhouse.send(cast("Any", None), "/r", ()) == ()
