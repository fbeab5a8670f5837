"""From a box file to the variables of a play: sections are named as roles, fields as their variables."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from gpubox import builds, paths
from gpubox.boxfile.models import SMALL_GPT
from gpubox.converge.variables import folder, guard, ktransformers, models, ollama, open_webui, vllm
from gpubox.converge.variables.common import BILLED, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord
    from gpubox.remote.facts import Facts

__all__ = ["digest", "role_variables"]

_ENGINES = {"vllm": vllm.variables, "ktransformers": ktransformers.variables, "ollama": ollama.variables}


def role_variables(
    box: BoxFile,
    *,
    root: str,
    data_dir: str,
    facts: Facts | None,
    record: BoxRecord | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, object]:
    """The variables that a play gets for this box. Fields that the box file leaves open are left out.

    `root` and `data_dir` are paths on the box. `record`: what the ledger knows of it, for the guard. `environ` is asked
    for the secrets that the box file names. Raises `UsageError` when such a variable is not set.
    """
    variables: dict[str, object] = {
        **_decided(box, facts),
        "gpubox_root": root,
        "gpubox_data_dir": data_dir,
        "gpubox_engine": box.engine or "",
        "gpubox_train_small_gpt": box.model == SMALL_GPT,
        "gpubox_box": box.model_dump(mode="json", exclude_none=True),
        **({"base_keep": list(box.keep)} if box.keep else {}),
        **section(box, "python_env"),
        **section(box, "small_gpt"),
        **section(box, "flash_attn"),
        **models.variables(box, environ),
        **folder.variables(box),
    }
    if box.provider == "local" and box.model == SMALL_GPT:
        # The box is this machine: a model that is trained once need not be trained again for the next box.
        variables["small_gpt_cache_dir"] = str(paths.cache_dir() / SMALL_GPT)
    if box.guard is not None or box.provider in BILLED:
        variables |= guard.variables(box, record, root)
    engine = _ENGINES[box.engine](box, root, facts, environ) if box.engine is not None else {}
    return {**variables, **engine, **open_webui.variables(box, record, engine, environ)}


def _decided(box: BoxFile, facts: Facts | None) -> dict[str, object]:
    """What the resolver decided for this box; the box file's own words are laid over it. Nothing without facts."""
    if facts is None or box.engine is None:
        return {}
    return builds.variables(builds.resolve(facts, box))


def digest(bundle_sha: str, variables: Mapping[str, object]) -> str:
    """SHA-256 (hex) of what a converge depends on: the same digest means that there is nothing new to bring about."""
    wanted = json.dumps({"bundle": bundle_sha, "variables": variables}, sort_keys=True, separators=(",", ":"))
    return sha256(wanted.encode()).hexdigest()
