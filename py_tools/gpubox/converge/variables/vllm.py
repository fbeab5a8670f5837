"""Variables of the role `vllm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpubox.boxfile.models import SMALL_GPT
from gpubox.converge.variables import models
from gpubox.converge.variables.common import secret, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile, Vllm
    from gpubox.remote.facts import Facts

# CUDA 13 wheels ask for this driver; CUDA 12 wheels run from 525 on (NVIDIA's compatibility table).
_CUDA13_DRIVER = 580


def variables(box: BoxFile, root: str, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    """What the box file says of vLLM, and what follows from the box's facts."""
    if box.vllm is None:
        return {}
    return _model(box, root) | section(box, "vllm") | _vllm(box.vllm, facts, environ)


def _model(box: BoxFile, root: str) -> dict[str, object]:
    if box.model == SMALL_GPT:
        return {"vllm_model_path": f"{root}/models/{SMALL_GPT}", "vllm_served_model_name": SMALL_GPT}
    path = models.path(box, root)
    return {"vllm_model_path": path} if path else {}


def _vllm(vllm: Vllm, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    build = _build(vllm.build, facts)
    variables: dict[str, object] = {"vllm_build": build}
    if build == "cuda" and 0 < _driver(facts) < _CUDA13_DRIVER:
        variables["vllm_cuda"] = 12
    if build == "cpu" and facts is not None and facts.cpu.effective >= 1:
        # vLLM counts the host's cores and not a container's share of them. One stays free for its front end.
        variables["vllm_cpu_threads"] = max(1, int(facts.cpu.effective) - 1)
    if vllm.api_key is not None:
        variables["vllm_api_key"] = secret(vllm.api_key, environ)
    return variables


def _build(wanted: Literal["auto", "cpu", "cuda"], facts: Facts | None) -> Literal["cpu", "cuda"]:
    if wanted != "auto":
        return wanted
    return "cpu" if facts is not None and not facts.gpus else "cuda"


def _driver(facts: Facts | None) -> int:
    """The driver's major version; 0 when it is not known."""
    major = ((facts.gpu.driver if facts else None) or "").partition(".")[0]
    return int(major) if major.isdigit() else 0
