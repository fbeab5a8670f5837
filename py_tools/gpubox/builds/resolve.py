"""From a box's facts and its box file to a plan. Pure: reads nothing, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpubox.builds import ktransformers, vllm
from gpubox.builds.draft import Draft
from gpubox.builds.machine import machine
from gpubox.builds.matrix import matrix
from gpubox.builds.plan import Step, Warned
from gpubox.builds.versions import dotted, numbers

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.builds.plan import Plan
    from gpubox.remote.facts import Facts


def resolve(facts: Facts | None, box: BoxFile) -> Plan:
    """Decide what `box` gets on the box behind `facts`; None: what can be said before there is a box.

    What is not known to fit is refused, with the nearest combination that is known.
    """
    it = machine(facts, box)
    draft = Draft(it=it, engine=box.engine)
    if box.engine is not None:
        size = matrix().estimate("controller-disk")
        draft.steps.append(
            Step("controller environment", matrix().estimate("controller"), size, size, "measured", "all")
        )
    if not it.known:
        draft.row(
            "the box", it.card or "not there yet", "not seen yet: its driver, C library and Python decide the rest"
        )
        draft.decided = False
    _machine(draft)
    match box.engine:
        case "vllm" if vllm_build(facts, box) == "cpu":
            vllm.on_cpu(draft, facts, box)
            start = matrix().estimate("vllm-cpu-start")
            draft.steps.append(Step("vLLM starts", start, 0, 0, "measured, lean environment", "all"))
        case "vllm":
            vllm.on_cuda(draft, facts, box)
            start = matrix().estimate("vllm-start")
            draft.steps.append(Step("vLLM starts", start, 0, 0, "cold start of 22 GB on a 5090", "all"))
        case "ktransformers":
            ktransformers.decide(draft, facts, box)
            draft.steps.append(Step("KTransformers loads", None, 0, 0, "by the disk's speed", "all"))
        case "ollama":
            _ollama(draft)
        case None:
            draft.row("engine", "none", "the box file names no engine")
    if (ui := box.web_ui_settings) and ui.on == "box":
        draft.row("web UI", f"open-webui on port {ui.port}", "`web_ui`; an environment of its own, without torch")
        disk = matrix().estimate("web-ui-disk")
        draft.download("environment of the web UI", "web-ui", disk, "open-webui, slim", chain="web UI")
    if not it.known:
        draft.decided = False
    return draft.plan()


def vllm_build(facts: Facts | None, box: BoxFile | None) -> Literal["cpu", "cuda"] | None:
    """Which build of vLLM the box file comes to on this box; None when vLLM is not asked for.

    A box file that names a GPU never falls back to the CPU build: that would hide a card that is missing.
    """
    if box is None or box.engine != "vllm" or box.vllm is None:
        return None
    if box.vllm.build != "auto":
        return box.vllm.build
    if box.gpu is not None or (facts is not None and facts.gpus):
        return "cuda"
    # Before there is a box: `local` has no GPU, whatever else is rented for one.
    return "cpu" if facts is not None or box.provider == "local" else "cuda"


def _machine(draft: Draft) -> None:
    """What no version mends: a C library or a processor that there are no wheels for."""
    it, name = draft.it, {"vllm": "vLLM", "ktransformers": "KTransformers"}.get(draft.engine or "")
    if name and it.libc == "musl":
        message = f"{it.os_name} has musl, and {name} has no wheels for it"
        draft.refuse("libc", message, "choose an image with Ubuntu 22.04")
    if name == "KTransformers" and not it.x86:
        message = f"KTransformers is built for x86_64 only, the box is {it.arch}"
        draft.refuse("architecture", message, "rent an x86_64 box")


def _ollama(draft: Draft) -> None:
    it = draft.it
    driver, oldest = int(matrix().limit("ollama-driver")), matrix().limit("ollama-oldest-card")
    old = [capability for capability in it.capabilities if numbers(capability) < numbers(oldest)]
    if it.known and it.gpu_less:
        how, why = "on the CPU", "the box shows no GPU"
    elif old:
        how, why = "on the CPU", f"compute capability {old[0]} is below {oldest}"
        draft.warnings.append(Warned("compute-capability", f"Ollama computes {how}: {why}", "rent a newer card"))
    elif it.driver and it.driver[0] < driver:
        how, why = "on the CPU", f"driver {dotted(it.driver)} is older than {driver}"
        draft.warnings.append(
            Warned("driver", f"Ollama computes {how}: {why}", f"a host with driver {driver} or newer")
        )
    else:
        how, why = "on the GPU", "it brings its own CUDA; no Python environment, no torch"
    draft.row("Ollama", how, why)
    if it.libc == "musl" or (it.glibc and it.glibc < (2, 27)):
        have = f"glibc {dotted(it.glibc)}" if it.glibc else "musl"
        draft.refuse(
            "libc", f"Ollama's program needs glibc 2.27 or newer, the box has {have}", "choose an image with Ubuntu"
        )
    draft.download(
        "Ollama", "ollama", matrix().estimate("ollama-disk"), "the program and its libraries", chain="engine"
    )
