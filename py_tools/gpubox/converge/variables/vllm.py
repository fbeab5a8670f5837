"""Variables of the role `vllm`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from gpubox import cards
from gpubox.boxfile.models import SMALL_GPT
from gpubox.builds.versions import numbers
from gpubox.builds.vllm import pin
from gpubox.converge.variables import models
from gpubox.converge.variables.common import secret, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile, Vllm
    from gpubox.remote.facts import Facts

# GeForce RTX 40 and 50: cards that cannot write into each other's memory, whose driver said otherwise for a while, so
# that NCCL and vLLM's own all-reduce hang at the start. A 3090 may have a bridge (NVLink), and is left alone.
_NO_PEER_TO_PEER = re.compile(r"[45]0[5-9]0")


def variables(box: BoxFile, root: str, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    """What the box file says of vLLM, and what follows from the box's facts."""
    if box.vllm is None:
        return {}
    given = section(box, "vllm")
    return _model(box, root) | _peers(box, facts) | given | _vllm(box, box.vllm, facts, environ)


def without_peer_to_peer(name: str) -> bool:
    """Whether cards of this name are known to have no peer-to-peer."""
    return any(_NO_PEER_TO_PEER.fullmatch(word) for word in cards.card(name).words)


def _model(box: BoxFile, root: str) -> dict[str, object]:
    if box.model == SMALL_GPT:
        return {"vllm_model_path": f"{root}/models/{SMALL_GPT}", "vllm_served_model_name": SMALL_GPT}
    path = models.path(box, root)
    return {"vllm_model_path": path} if path else {}


def _peers(box: BoxFile, facts: Facts | None) -> dict[str, object]:
    """What several cards of one model need that have no peer-to-peer; one field that is given decides the other."""
    vllm = box.vllm
    if vllm is None or (vllm.tensor_parallel_size or 1) * (vllm.pipeline_parallel_size or 1) == 1:
        return {}
    names = [card.name for card in facts.gpus] if facts and facts.gpus else [box.gpu.name] if box.gpu else []
    needed = any(without_peer_to_peer(name) for name in names)
    if vllm.disable_custom_all_reduce is not None:
        needed = vllm.disable_custom_all_reduce
    return {"vllm_disable_custom_all_reduce": True, "vllm_nccl_p2p_disable": True} if needed else {}


def _vllm(box: BoxFile, vllm: Vllm, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    build = _build(vllm.build, facts)
    variables: dict[str, object] = {"vllm_build": build}
    if build == "cuda" and pin(numbers(facts.gpu.driver if facts else None)) == "cuda12":
        variables["vllm_cuda"] = 12
    if build == "cpu" and facts is not None and facts.cpu.effective >= 1:
        # vLLM counts the host's cores and not a container's share of them. One stays free for its front end.
        variables["vllm_cpu_threads"] = max(1, int(facts.cpu.effective) - 1)
    if vllm.api_key is not None:
        variables["vllm_api_key"] = secret(vllm.api_key, environ)
    if box.flash_attn is not None and build == "cuda":
        variables["vllm_flash_attn"] = True
    return variables


def _build(wanted: Literal["auto", "cpu", "cuda"], facts: Facts | None) -> Literal["cpu", "cuda"]:
    if wanted != "auto":
        return wanted
    return "cpu" if facts is not None and not facts.gpus else "cuda"
