"""Checks of the graphics cards, their driver, and how the model is spread over them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubox.preflight import needs
from gpubox.preflight.case import size
from gpubox.preflight.findings import Finding, blocker, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight.case import Case

# Words that every name may carry, and that tell no card from another.
_NOISE = {"nvidia", "geforce", "tesla", "rtx", "gtx", "graphics", "card", "gpu"}
_HALF_USED = 0.85


def mode(case: Case) -> Iterator[Finding]:
    """A box that was started without its GPU."""
    if not case.gpu_less:
        return
    message = (
        f"the box was started without GPU (无卡模式): {case.facts.cpu.effective:g} cores, "
        f"{size(case.facts.memory.effective)} of memory, no card"
    )
    if case.serves or case.on_gpu:
        yield blocker(
            "gpu-mode", message, "power it off in the provider's console, and start it again the normal way, with GPU"
        )
    else:
        yield warning("gpu-mode", message, "start it with GPU before you serve or train; copying files works as it is")


def count(case: Case) -> Iterator[Finding]:
    """As many cards as the box file says, and a driver that answers."""
    if case.gpu_less or case.box is None:
        return
    gpu, found = case.facts.gpu, case.facts.gpus
    if case.on_gpu and gpu.nvidia_smi in ("failed", "hung"):
        said = f": {gpu.nvidia_smi_says}" if gpu.nvidia_smi_says else ""
        what = "does not answer" if gpu.nvidia_smi == "hung" else f"fails{said}"
        yield blocker("gpu-driver", f"`nvidia-smi` {what}", "restart the box; if it stays so, rent another one")
        return
    wanted = case.box.gpu
    seen = f"{len(found)} x {found[0].name}" if found else "no NVIDIA GPU"
    if wanted is None:
        if case.on_gpu and not found:
            fix = "rent a box with a GPU" + ("; or `vllm.build: cpu`" if case.build == "cuda" else "")
            yield blocker("gpu-count", f"`{case.box.engine}` wants a GPU here, and the box has none", fix)
        else:
            yield ok("gpu-count", f"{seen}; the box file asks for none by name")
    elif len(found) < wanted.count:
        yield blocker(
            "gpu-count",
            f"the box file asks for {wanted.count} x {wanted.name}, the box has {seen}",
            f"`gpu.count: {len(found)}`, or rent a box with {wanted.count} cards"
            if found
            else f"rent a box with {wanted.count} x {wanted.name}, or leave `gpu` out and set `vllm.build: cpu`",
        )
    elif len(found) > wanted.count:
        yield warning(
            "gpu-count",
            f"the box has {seen}, the box file asks for {wanted.count}: the others cost money and do nothing",
            f"`gpu.count: {len(found)}`, or rent fewer cards",
        )
    else:
        yield ok("gpu-count", f"{seen}, as the box file asks")


def name(case: Case) -> Iterator[Finding]:
    """The card that was asked for."""
    wanted = case.box.gpu if case.box else None
    if wanted is None or not case.facts.gpus:
        return
    for found in dict.fromkeys(card.name for card in case.facts.gpus):
        yield _same_card(wanted.name, found)


def driver(case: Case) -> Iterator[Finding]:
    """A driver new enough for the CUDA version of vLLM's wheels."""
    if case.build != "cuda" or not case.facts.gpus:
        return
    version, newest = needs.vllm_version(case), needs.vllm_pinned("cuda13")
    cuda = needs.vllm_cuda(version)
    least, have = needs.driver_for_cuda(cuda), needs.numbers(case.facts.gpu.driver)
    new_host = f"rent a host with driver {needs.driver_for_cuda(13)} or newer (it belongs to the host, no image has it)"
    if not have:
        yield warning("driver", "the driver's version is unknown", "see what `nvidia-smi` prints on the box")
    elif have[0] < least:
        older = (
            f'`vllm.version: "{needs.vllm_pinned("cuda12")}"` (CUDA 12), or '
            if cuda > 12 and have[0] >= needs.driver_for_cuda(12)
            else ""
        )
        yield blocker(
            "driver",
            f"driver {case.facts.gpu.driver} is too old: vLLM {version} is built with CUDA {cuda}, "
            f"which needs driver {least} or newer",
            older + new_host,
        )
    elif case.box and case.box.vllm and case.box.vllm.version is None and version != newest:
        yield warning(
            "driver",
            f"driver {case.facts.gpu.driver} is too old for CUDA 13 and so for vLLM {newest}; "
            f"vLLM {version} (CUDA {cuda}) is installed instead",
            f'to keep it so: `vllm.version: "{version}"`; for the newest: {new_host}',
        )
    else:
        yield ok("driver", f"driver {case.facts.gpu.driver} runs CUDA {cuda}, which vLLM {version} is built with")


def capability(case: Case) -> Iterator[Finding]:
    """Cards that vLLM has kernels for."""
    if case.build != "cuda":
        return
    version = needs.vllm_version(case)
    for card in {card.compute_cap: card for card in case.facts.gpus if card.compute_cap}.values():
        have = needs.numbers(card.compute_cap)
        if have < needs.capability("vllm-oldest-card"):
            yield blocker(
                "compute-capability",
                f"{card.name} has compute capability {card.compute_cap}; vLLM needs 7.5 (Turing) or newer",
                "rent a newer card (RTX 20 series, T4, A10, RTX 3090, RTX 4090...), or use `engine: ollama`",
            )
        elif have >= needs.capability("blackwell") and needs.numbers(version) < needs.capability(
            "vllm-first-for-blackwell"
        ):
            yield blocker(
                "compute-capability",
                f"{card.name} (compute capability {card.compute_cap}) is newer than vLLM {version}",
                f'`vllm.version: "{needs.vllm_pinned("cuda12")}"` or newer',
            )
        else:
            yield ok("compute-capability", f"{card.name} has compute capability {card.compute_cap}")


def parallel(case: Case) -> Iterator[Finding]:
    """Enough cards for the split of the model, and a split that models allow."""
    vllm = case.box.vllm if case.box else None
    if vllm is None or case.box is None or not (vllm.tensor_parallel_size or vllm.pipeline_parallel_size):
        return
    tensor = vllm.tensor_parallel_size or 1
    if case.build == "cpu":
        if case.tensor_parallel != 1 or tensor > 1:
            yield warning(
                "parallel", f"`vllm.tensor_parallel_size: {tensor}` has no meaning for the CPU build", "leave it out"
            )
        return
    cards = len(case.facts.gpus)
    if cards and case.tensor_parallel > cards:
        product = f"{tensor} x {vllm.pipeline_parallel_size} (pipeline)" if vllm.pipeline_parallel_size else f"{tensor}"
        yield blocker(
            "parallel",
            f"`vllm.tensor_parallel_size: {product}` needs {case.tensor_parallel} cards, the box has {cards}",
            f"`vllm.tensor_parallel_size: {_power_below(cards)}`, or rent a box with {case.tensor_parallel} cards",
        )
    elif tensor & (tensor - 1):
        yield warning(
            "parallel",
            f"`vllm.tensor_parallel_size: {tensor}` must divide the model's attention heads, and few models' heads "
            f"divide by {tensor}",
            f"`vllm.tensor_parallel_size: {_power_below(tensor)}`, or `vllm.pipeline_parallel_size: {tensor}`",
        )
    else:
        yield ok("parallel", f"the model is spread over {case.tensor_parallel} of {cards} cards")


def busy(case: Case) -> Iterator[Finding]:
    """Memory of the cards that something else holds, before gpubox put anything there."""
    if case.converged or not case.on_gpu:
        return
    for card in case.facts.gpus:
        if card.memory_total and card.memory_free is not None and card.memory_free < _HALF_USED * card.memory_total:
            used = card.memory_total - card.memory_free
            yield warning(
                "gpu-busy",
                f"{size(used)} of the {size(card.memory_total)} of GPU {card.index} ({card.name}) are in use already",
                "see `nvidia-smi` on the box, and end what runs there",
            )


def _same_card(wanted: str, found: str) -> Finding:
    want, have = _words(wanted), _words(found)
    if want <= have and not (have - want) & {"d", "ti", "super", "laptop", "max", "q"}:
        return ok("gpu-name", f"{found} is the {wanted} that the box file asks for")
    message = f"the box file asks for {wanted}, the box has {found}"
    fix = f'`gpu.name: "{found.removeprefix("NVIDIA ").removeprefix("GeForce ")}"`, or rent the other card'
    models = {word for word in want if re.search(r"\d", word)}, {word for word in have if re.search(r"\d", word)}
    # Providers have names of their own (v-48g): only two known models that differ are a mistake for sure.
    if all(models) and not models[0] & models[1] and re.fullmatch(r"[a-z]{0,2}\d{2,4}", min(models[0])):
        return blocker("gpu-name", message, fix)
    return warning("gpu-name", message, fix)


def _words(name: str) -> set[str]:
    # "4090D" and "4090 D", "3080Ti" and "3080 Ti" are the same card.
    spaced = re.sub(r"(\d{4})(d|ti|super)\b", r"\1 \2", name.lower())
    return set(re.findall(r"[a-z0-9]+", spaced)) - _NOISE


def _power_below(cards: int) -> int:
    return 1 << (cards.bit_length() - 1) if cards > 0 else 1
