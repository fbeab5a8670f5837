"""Variables of the role `ktransformers`, and the second model that it needs: config and tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.boxfile.models import ModelSource
from gpubox.converge.variables.common import secret, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile, Ktransformers
    from gpubox.remote.facts import Facts

_HUBS = ("modelscope", "huggingface")


def variables(box: BoxFile, root: str, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    """What the box file says of KTransformers, what follows from the box's facts, and where the models lie."""
    asked = box.ktransformers
    if asked is None:
        return {}
    # Here: models needs this module for its second download.
    from gpubox.converge.variables import models

    found = section(box, "ktransformers")
    found.pop("ktransformers_model_path", None)
    weights = models.path(box, root)
    if _reads_gguf(box, asked) and weights:
        found["ktransformers_gguf_path"] = weights
        if asked.recipe == "current":
            found.setdefault("ktransformers_kt_method", "LLAMAFILE")
    found["ktransformers_model_path"] = _model_path(box, asked, root) or weights or ""
    found.setdefault("ktransformers_model_name", str(found["ktransformers_model_path"]).rpartition("/")[2])
    if extra := downloads(box):
        found["ktransformers_config_job"] = f"model-{extra[0]['name']}"
    if asked.api_key is not None:
        found["ktransformers_api_key"] = secret(asked.api_key, environ)
    return {**_from_facts(asked, facts), **found}


def downloads(box: BoxFile) -> list[dict[str, Any]]:
    """What has to be fetched besides `model`: config and tokenizer, as a download of the role `model`.

    Weights only where SGLang needs the model's own besides the GGUF files (LLAMAFILE).
    """
    asked, model = box.ktransformers, box.model
    if asked is None or box.engine != "ktransformers" or not _is_hub_id(asked.model_path):
        return []
    source = model.source if isinstance(model, ModelSource) and model.source in _HUBS else _HUBS[0]
    whole = asked.recipe == "current"
    return [
        {"name": _name(box, asked), "source": source, "id": asked.model_path, **({} if whole else {"weights": False})}
    ]


def _from_facts(asked: Ktransformers, facts: Facts | None) -> dict[str, object]:
    """Threads, pools and GPU architectures of this box. What it does not say the role finds out there."""
    if facts is None:
        return {}
    found: dict[str, object] = {}
    physical, cpus = facts.cpu.physical_effective, int(facts.cpu.effective)
    if physical:
        # The rule of kt_tools.machine.cpu_infer, which says why.
        threads = physical - 2 if asked.recipe == "classic" else min(physical, cpus - 2)
        found["ktransformers_cpu_infer"] = max(1, threads)
    if nodes := [node for node in facts.numa if node.cpus]:
        found["ktransformers_kt_threadpool_count"] = len(nodes)
    if archs := sorted({card.compute_cap for card in facts.gpus if card.compute_cap}):
        found["ktransformers_cuda_archs"] = ";".join(archs)
    return found


def _reads_gguf(box: BoxFile, asked: Ktransformers) -> bool:
    if asked.recipe == "classic" or asked.kt_method == "LLAMAFILE":
        return True
    return asked.kt_method is None and isinstance(box.model, ModelSource) and box.model.quant is not None


def _model_path(box: BoxFile, asked: Ktransformers, root: str) -> str | None:
    if asked.model_path is None:
        return None
    return f"{root}/models/{_name(box, asked)}" if _is_hub_id(asked.model_path) else asked.model_path.rstrip("/")


def _name(box: BoxFile, asked: Ktransformers) -> str:
    """Directory of config and tokenizer; the weights may come from a repository of the same name."""
    name = (asked.model_path or "").rpartition("/")[2]
    weights = (box.model.id or "").rpartition("/")[2] if isinstance(box.model, ModelSource) else ""
    return f"{name}-config" if name == weights else name


def _is_hub_id(path: str | None) -> bool:
    return path is not None and path.count("/") == 1 and not path.startswith(("/", "~", "."))
