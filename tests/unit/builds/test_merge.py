"""What the resolver decided becomes variables of roles, below what the box file says itself."""

from __future__ import annotations

from typing import Any

from gpubox.boxfile import BoxFile
from gpubox.converge.variables import digest, role_variables
from unit.preflight.boxes import facts_of

CARD = {"count": 1, "name": "NVIDIA GeForce RTX 4090", "gib": 24, "compute_cap": "8.9"}
BOX: dict[str, Any] = {
    "provider": "attach",
    "engine": "vllm",
    "model": {"source": "path", "path": "/m"},
    "flash_attn": {"build": "source", "max_jobs": 8},
}


def merged(box: dict[str, Any], **facts: Any) -> dict[str, object]:  # noqa: ANN401 - facts as a fixture writes them
    seen = facts_of({"base": "autodl-4090", "facts": facts, "cards": CARD})
    return role_variables(BoxFile.model_validate(box), root="/r", data_dir="/d", facts=seen, environ={})


def test_the_decision_and_the_box_file_s_own_words() -> None:
    found = merged(BOX, gpu={"driver": "550.54.15"})
    assert found["vllm_cuda"] == 12
    assert (found["cuda_toolkit_version"], found["cuda_toolkit_source"]) == ("12.8", "conda")
    assert (found["flash_attn_build"], found["flash_attn_max_jobs"]) == ("source", 8)
    assert (found["flash_attn_wheel"], found["flash_attn_archs"]) == ("", "80")


def test_the_box_file_s_version_wins() -> None:
    found = merged(BOX | {"vllm": {"version": "0.8.5.post1"}, "flash_attn": {"version": "2.7.4.post1"}})
    assert found["flash_attn_version"] == "2.7.4.post1"
    assert str(found["flash_attn_wheel"]).startswith("flash_attn-2.7.4.post1+cu12torch2.6cxx11abiFALSE-cp312")


def test_nothing_is_decided_without_facts() -> None:
    found = role_variables(BoxFile.model_validate(BOX), root="/r", data_dir="/d", facts=None, environ={})
    assert not {name for name in found if name.startswith(("cuda_toolkit_", "flash_attn_wheel", "flash_attn_archs"))}
    assert "vllm_cuda" not in found


def test_what_changes_from_one_look_to_the_next_does_not_make_a_new_converge() -> None:
    # Less free memory, another load, other compilers: the box is the same.
    one = merged(BOX)
    two = merged(BOX, memory={"available": 1 << 34}, cpu={"load1": 90.0, "throttled": 7})
    assert digest("sha", one) == digest("sha", two)
