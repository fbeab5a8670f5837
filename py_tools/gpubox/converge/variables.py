"""From a box file to the variables of a play: sections are named as roles, fields as their variables."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from gpubox import paths
from gpubox.boxfile.models import SMALL_GPT, ModelSource
from gpubox.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile, Vllm
    from gpubox.ledger import BoxRecord
    from gpubox.remote.facts import Facts

# CUDA 13 wheels ask for this driver; CUDA 12 wheels run from 525 on (NVIDIA's compatibility table).
_CUDA13_DRIVER = 580


# Of a box that costs money and whose box file has no `guard`: when the guard of the create call would act, too.
_TTL = "24h"
_BILLED = ("autodl", "compshare", "ec2")


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
        "gpubox_root": root,
        "gpubox_data_dir": data_dir,
        "gpubox_engine": box.engine or "",
        "gpubox_train_small_gpt": box.model == SMALL_GPT,
        "gpubox_box": box.model_dump(mode="json", exclude_none=True),
        **({"base_keep": list(box.keep)} if box.keep else {}),
        **_section(box, "python_env"),
        **_section(box, "small_gpt"),
    }
    if box.provider == "local" and box.model == SMALL_GPT:
        # The box is this machine: a model that is trained once need not be trained again for the next box.
        variables["small_gpt_cache_dir"] = str(paths.cache_dir() / SMALL_GPT)
    if box.guard is not None or box.provider in _BILLED:
        variables |= _guard(box, record, root)
    if box.engine == "vllm" and box.vllm is not None:
        variables |= _model(box, root) | _section(box, "vllm") | _vllm(box.vllm, facts, environ)
    return variables


def digest(bundle_sha: str, variables: Mapping[str, object]) -> str:
    """SHA-256 (hex) of what a converge depends on: the same digest means that there is nothing new to bring about."""
    wanted = json.dumps({"bundle": bundle_sha, "variables": variables}, sort_keys=True, separators=(",", ":"))
    return sha256(wanted.encode()).hexdigest()


def _section(box: BoxFile, name: str) -> dict[str, object]:
    section = getattr(box, name)
    if section is None:
        return {}
    fields = section.model_dump(mode="json", exclude_none=True)
    return {f"{name}_{field}": value for field, value in fields.items() if value not in ([], {})}


def _model(box: BoxFile, root: str) -> dict[str, object]:
    if box.model == SMALL_GPT:
        return {"vllm_model_path": f"{root}/models/{SMALL_GPT}", "vllm_served_model_name": SMALL_GPT}
    if isinstance(box.model, ModelSource) and box.model.path:
        return {"vllm_model_path": box.model.path.rstrip("/")}
    return {}


def _vllm(vllm: Vllm, facts: Facts | None, environ: Mapping[str, str]) -> dict[str, object]:
    build = _build(vllm.build, facts)
    variables: dict[str, object] = {"vllm_build": build}
    if build == "cuda" and 0 < _driver(facts) < _CUDA13_DRIVER:
        variables["vllm_cuda"] = 12
    if build == "cpu" and facts is not None and facts.cpu.effective >= 1:
        # vLLM counts the host's cores and not a container's share of them. One stays free for its front end.
        variables["vllm_cpu_threads"] = max(1, int(facts.cpu.effective) - 1)
    if vllm.api_key is not None:
        variables["vllm_api_key"] = _secret(vllm.api_key, environ)
    return variables


def _guard(box: BoxFile, record: BoxRecord | None, root: str) -> dict[str, object]:
    """Nothing that changes from one `up` to the next: what was spent is for the guard to count, and `gpubox guard`."""
    variables = {"gpubox_guard": True, **({"guard_ttl": _TTL} if box.guard is None else _section(box, "guard"))}
    if record is not None:
        # Of another rental under the same name nothing counts.
        variables |= {"guard_box": record.name, "guard_life": record.created_at.isoformat()}
        if box.provider in _BILLED:
            variables["guard_since"] = record.created_at.isoformat()
        if record.price_per_hour and record.currency:
            price: dict[str, object] = {"guard_price_per_hour": float(record.price_per_hour)}
            variables = {**price, **variables, "guard_currency": record.currency}
    if box.provider == "local":
        # The machine stays on: what ends is the box's programs, its SSH server last.
        python = f"{root}/controller/bin/python"
        variables |= {
            "guard_power_off": [python, "-s", "-P", "-m", "boxguard.local"],
            "guard_ssh_server": "gpubox.providers.local_box",
            "guard_marker": "",
        }
    if box.notify:
        variables["guard_push_urls"] = _destinations()
    return variables


def _destinations() -> list[str]:
    from gpubox import notify

    urls = notify.destinations()
    if not urls:
        raise UsageError("the box file has `notify: true`, and there is nowhere to push to", hint=notify.HOW)
    return urls


def _build(wanted: Literal["auto", "cpu", "cuda"], facts: Facts | None) -> Literal["cpu", "cuda"]:
    if wanted != "auto":
        return wanted
    return "cpu" if facts is not None and not facts.gpus else "cuda"


def _driver(facts: Facts | None) -> int:
    """The driver's major version; 0 when it is not known."""
    major = ((facts.gpu.driver if facts else None) or "").partition(".")[0]
    return int(major) if major.isdigit() else 0


def _secret(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        raise UsageError(
            f"the environment variable `{name}`, which the box file names for the API key, is not set",
            hint=f"export {name}=... in this shell (the key itself never stands in the box file)",
        )
    return value
