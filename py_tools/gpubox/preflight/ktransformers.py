"""Checks for `engine: ktransformers`: what made other people's servers slow, killed or dumb, before it is paid for.

What exists only later is checked later (roles/ktransformers): sources, compilers and the build's output by the job that
builds, GGUF files and what was built by the service's start.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gpubox.boxfile.models import ModelSource
from gpubox.preflight.case import GIB, install, size
from gpubox.preflight.findings import Finding, blocker, ok, warning
from gpubox.preflight.needs import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile import Ktransformers
    from gpubox.preflight.case import Case

# R1 and V3 by quantization, in GiB (sizes on the hubs).
_R1_GIB = {"UD-Q2_K_XL": 212, "Q3_K_M": 298, "Q4_K_M": 377, "Q8_0": 665}
_R1 = re.compile(r"DeepSeek-(R1|V3)(?!-Distill)", re.IGNORECASE)
# doc/en/install.md, "Suggested Model": 14 GB of GPU memory for R1 and V3; 576 x 2 bytes x 61 layers a token on top.
_R1_VRAM = 14e9
_R1_TOKEN = 2 * 576 * 61
# `cache_lens`, `max_batch_size` and `max_new_tokens` where the box file says nothing (ktransformers/configs, 0.3.2).
_CACHE, _BATCH, _NEW = 16384, 4, 500
# Loading takes a little more than the files (387 to 390 GB for 377 GiB in upstream's issues 432 and 824).
_LOAD = 1.05
_GCC = (11,)
# One compiler of flash-attn's largest units (roles/flash_attn), and the share of the memory that builds may take.
_COMPILER, _SHARE = 6 * GIB, 0.8
_LOADED = 1.0
# Periods of mostly 100 ms in which a CPU quota was used up: so many are minutes, and no start of a container.
_THROTTLED = 1000
_NEEDED = {
    "FANCY": ("avx512bw", "avx512vl", "avx512dq", "avx512_vnni"),
    "AVX512": ("avx512f",),
    "AVX2": ("avx2",),
}
_AMX = ("amx_tile", "amx_int8", "amx_bf16")


class Weights(NamedTuple):
    """Bytes of the model's files, and a smaller quantization of it, where one is known."""

    bytes: float
    smaller: str | None


def threads(case: Case) -> Iterator[Finding]:
    """Threads that spin, one waiting for a core and all others for it: 0.27 tokens/s with 8 on 4 CPUs, 12 with 4."""
    section, cpu = _section(case), case.facts.cpu
    if section is None or not cpu.effective:
        return
    asked, allowed = section.cpu_infer, int(cpu.effective)
    physical = cpu.physical_effective or allowed
    best = f"`ktransformers.cpu_infer: {max(physical - 2, 1)}`"
    if asked and asked > allowed:
        yield blocker(
            "threads",
            f"`ktransformers.cpu_infer: {asked}`, but the box may use {allowed} cores: threads that wait for a core "
            "stall all others",
            best,
        )
    elif asked and asked > physical:
        yield warning(
            "threads",
            f"`ktransformers.cpu_infer: {asked}`, and the box may use {physical} different cores (the rest are their "
            "second threads): often slower, measure it",
            f"{best}; measure both with `gpubox bench`",
        )
    else:
        yield ok("threads", f"{asked or max(physical - 2, 1)} threads on {physical} cores")
    if cpu.quota_cores and (cpu.throttled or 0) > _THROTTLED:
        yield warning(
            "threads",
            f"the box has used up its share of {cpu.quota_cores:g} CPUs {cpu.throttled} times: stopped threads "
            "stall all others",
            "end what else runs on the box; then see whether `gpubox doctor NAME` still counts on",
        )
    if cpu.load1 is not None and cpu.logical and cpu.load1 > _LOADED * cpu.logical:
        yield warning(
            "threads",
            f"the host is overloaded (load {cpu.load1:.0f} on {cpu.logical} CPUs): the experts' threads will wait",
            "rent another box, or measure again later",
        )


def nodes(case: Case) -> Iterator[Finding]:
    """A copy of the experts for each NUMA node that there is."""
    section = _section(case)
    if section is None:
        return
    have = _nodes(case)
    if section.use_numa and have < 2:
        yield blocker(
            "numa",
            "`ktransformers.use_numa: true`, but the box has one NUMA node: there is nothing to copy for",
            "leave out `ktransformers.use_numa`",
        )
    pools = section.kt_threadpool_count
    if pools and pools > have:
        yield blocker(
            "numa",
            f"`ktransformers.kt_threadpool_count: {pools}`, but the box has {have} NUMA node{'s' * (have > 1)}: "
            "kt-kernel would start, leave its threads unpinned and say nothing",
            f"`ktransformers.kt_threadpool_count: {have}`, or leave it out",
        )


def memory(case: Case) -> Iterator[Finding]:
    """Room for the experts in the memory that the box may really use."""
    section, weights = _section(case), _weights(case)
    have = case.facts.memory.effective
    if section is None or weights is None or not have or case.gpu_less:
        return
    copies = _nodes(case) if section.use_numa else 1
    needed = weights.bytes * copies * _LOAD
    if have >= needed:
        yield ok("expert-memory", f"{size(needed)} for the experts, the box may use {size(have)}")
        return
    times = f" ({copies} copies, one for each NUMA node)" if copies > 1 else ""
    fixes = ["leave out `ktransformers.use_numa`"] if copies > 1 and have >= weights.bytes * _LOAD else []
    fixes += [f"`model.quant: {weights.smaller}`"] if weights.smaller else []
    yield blocker(
        "expert-memory",
        f"the experts take {size(needed)} of memory{times}, the box may use {size(have)}: the kernel would kill the "
        "server while it loads",
        ", or ".join([*fixes, "rent more memory (AutoDL gives it by the card)"]),
    )


def disk(case: Case) -> Iterator[Finding]:
    """Room for the weights on the data disk."""
    weights, place = _weights(case), case.data_disk
    if weights is None or place is None or place.free is None or case.converged or not _fetched(case):
        return
    if place.free < weights.bytes:
        yield blocker(
            "model-space",
            f"the weights take {size(weights.bytes)}, `{place.mount or place.probed}` has {size(place.free)} free",
            "enlarge the data disk in the provider's console, or `data_dir` on a bigger one",
        )


def compilers(case: Case) -> Iterator[Finding]:
    """What the classic recipe is built with. cmake comes with the environment, nvcc with the role `cuda_toolkit`."""
    section, facts = _section(case), case.facts
    if section is None or section.recipe != "classic":
        return
    gxx = facts.compilers.gxx
    may_install = facts.system.uid == 0 and facts.has("apt-get")
    if gxx and numbers(gxx) < _GCC:
        yield blocker(
            "compilers",
            f"g++ is {gxx}, KTransformers (classic) is built with 11 or newer",
            "choose an image with Ubuntu 22.04 or newer, or `ktransformers.recipe: current`",
        )
    missing = [name for name, have in (("g++", gxx), ("git", facts.compilers.git)) if not have]
    if missing and not may_install:
        yield blocker(
            "compilers",
            f"KTransformers (classic) is built on the box, which has no {' and no '.join(missing)}",
            install(facts, "build-essential", "git") + ", or `ktransformers.recipe: current`",
        )


def instructions(case: Case) -> Iterator[Finding]:
    """Instructions that were asked for and that this CPU lacks: `Illegal instruction`, an hour later."""
    section, flags = _section(case), case.facts.cpu.flags
    if section is None or not flags:
        return
    asked = section.cpu_instruct or "NATIVE"
    missing = [flag for flag in _NEEDED.get(asked, ()) if flag not in flags]
    if missing:
        yield blocker(
            "cpu-instructions",
            f"`ktransformers.cpu_instruct: {asked}` needs {', '.join(missing)}, "
            f"which the CPU ({case.facts.cpu.model}) lacks",
            "leave out `ktransformers.cpu_instruct`: the build then takes what the CPU has",
        )
    by_rules = "-amx" in (section.optimize_config_path or "")
    if (by_rules or section.kt_method in ("AMXINT4", "AMXINT8")) and not set(_AMX) <= set(flags):
        field = "optimize_config_path" if by_rules else "kt_method"
        yield blocker(
            "cpu-instructions",
            f"`ktransformers.{field}` is for CPUs with AMX (Intel Xeon from Sapphire Rapids on), this is "
            f"{case.facts.cpu.model or 'another one'}",
            "rules without `-amx`" if by_rules else "`ktransformers.kt_method: LLAMAFILE` with GGUF files, or BF16",
        )
    elif section.recipe == "current" and section.kt_method != "LLAMAFILE" and not set(_AMX) <= set(flags):
        # Upstream's own figures: 54 to 88 tokens/s on AVX512, 186 to 255 with AMX (docs/ktransformers.md).
        yield warning(
            "cpu-instructions",
            f"{case.facts.cpu.model or 'the CPU'} has no AMX: prompts are read some three times slower than with it; "
            "answers come as fast",
            "a Xeon from Sapphire Rapids on, for long prompts; measure with prompts of 512 tokens and more",
        )


def options(case: Case) -> Iterator[Finding]:
    """Settings that do not go together, as far as the box file alone does not show it."""
    section = _section(case)
    if section is None:
        return
    if section.recipe == "classic" and section.backend_type == "balance_serve":
        batch, new = section.max_batch_size or _BATCH, section.max_new_tokens or _NEW
        cache = section.cache_lens or _CACHE
        if numbers(section.version or "0.3.2") < (0, 2, 4):
            yield blocker(
                "backend",
                f"KTransformers {section.version} has no balance_serve (`No module named sched_ext`)",
                '`ktransformers.version: "0.3.2"`, or leave out `ktransformers.backend_type`',
            )
        elif cache <= batch * new:
            yield blocker(
                "backend",
                f"{batch} requests of {new} tokens do not fit into a cache of {cache}: some would wait for ever",
                f"`ktransformers.cache_lens: {batch * new * 2}`",
            )
    if any(word.startswith("--kt-gpu-prefill-token-threshold") for word in section.extra_args):
        yield warning(
            "backend",
            "long prompts will be computed layer by layer on the GPU, which gave gibberish to some (upstream's issue "
            "1816)",
            "ask for something that you can check, with a prompt above the threshold, before you trust the answers",
        )
    jobs, have = _max_jobs(case), case.facts.memory.effective
    if jobs and have and jobs * _COMPILER > _SHARE * have:
        yield blocker(
            "build-memory",
            f"`flash_attn.max_jobs: {jobs}` compilers of up to 6 GiB each do not fit into {size(have)}: the kernel "
            "would kill the build",
            "leave out `flash_attn.max_jobs`: as many run as fit",
        )


def cards(case: Case) -> Iterator[Finding]:
    """Memory of the one card that computes."""
    section, model = _section(case), _model(case)
    found = case.facts.gpus
    if section is None or not found:
        return
    if len(found) > 1 and "multi-gpu" not in (section.optimize_config_path or ""):
        yield ok("cards", f"one of {len(found)} cards computes; the others bring memory and cores, not speed")
    if model is None or not _R1.search(model.id or model.path or ""):
        return
    cache = section.cache_lens or _CACHE
    needed, have = _R1_VRAM + cache * _R1_TOKEN, found[0].memory_total
    if have and needed > have:
        fits = max(0, int((have - _R1_VRAM) // _R1_TOKEN) // 256 * 256)
        yield blocker(
            "gpu-memory",
            f"a KV cache of {cache} tokens and the layers on the GPU take {size(needed)}, the card has {size(have)}",
            f"`ktransformers.cache_lens: {fits}`" if fits >= _NEW else "rent a card with 16 GB or more",
        )


def weights_directory(case: Case) -> Iterator[Finding]:
    """KTransformers wants a directory, and takes one that is called like a file for a file."""
    model = _model(case)
    if _section(case) is not None and model is not None and (model.path or "").rstrip("/").endswith(".gguf"):
        yield blocker(
            "gguf",
            f"`model.path: {model.path}` is a file, or is called like one; KTransformers wants the directory",
            f"`model.path: {(model.path or '').rstrip('/').rpartition('/')[0] or '/'}`",
        )


def _section(case: Case) -> Ktransformers | None:
    return case.box.ktransformers if case.box is not None and case.box.engine == "ktransformers" else None


def _model(case: Case) -> ModelSource | None:
    model = case.box.model if case.box is not None else None
    return model if isinstance(model, ModelSource) else None


def _fetched(case: Case) -> bool:
    model = _model(case)
    return model is not None and model.source != "path"


def _nodes(case: Case) -> int:
    """NUMA nodes with CPUs of the box."""
    return len([node for node in case.facts.numa if node.cpus]) or case.facts.cpu.numa_nodes or 1


def _weights(case: Case) -> Weights | None:
    model = _model(case)
    if _section(case) is None or model is None or model.quant is None or not _R1.search(model.id or ""):
        return None
    gib = _R1_GIB.get(model.quant.upper())
    if gib is None:
        return None
    smaller = [quant for quant, other in _R1_GIB.items() if other < gib]
    return Weights(gib * GIB, smaller[-1] if smaller else None)


def _max_jobs(case: Case) -> int | None:
    section = case.box.flash_attn if case.box is not None else None
    return section.max_jobs if section is not None else None
