"""Checks for `engine: ollama`: where it runs, what its models take, and what of them a card can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.preflight import needs
from gpubox.preflight.case import size
from gpubox.preflight.findings import Finding, blocker, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight.case import Case

# Archive (1,422,353,729 bytes for 0.32.5) and what it unpacks to (3.4 GB, Chromebrew's package of 0.32.7); the archive
# goes when it is unpacked.
_RELEASE_BYTES = 5e9
# Sizes of tags in Ollama's library, in GB: what is downloaded, and about what has to fit into memory.
_GIGABYTES = {
    "deepseek-r1:1.5b": 1.1, "deepseek-r1:7b": 4.7, "deepseek-r1:8b": 5.2, "deepseek-r1:14b": 9.0,
    "deepseek-r1:32b": 20.0, "deepseek-r1:70b": 43.0, "deepseek-r1:671b": 404.0,
}  # fmt: skip
# KV cache and buffers besides the weights, at a short context.
_BESIDES = 1.2
# docs/gpu.mdx of 0.32.7.
_DRIVER, _DRIVER_OF_OLD_CARDS, _OLD_CARDS = 550, 570, (7, 0)
_CAPABILITY = (5, 0)
# Built on AlmaLinux 8 (Dockerfile of 0.32.7).
_GLIBC = (2, 28)


def libc(case: Case) -> Iterator[Finding]:
    """A C library that releases run on."""
    system = case.facts.system
    if not _wanted(case) or system.libc != "glibc" or not system.libc_version:
        return
    if needs.numbers(system.libc_version) < _GLIBC:
        have = f"the box has {system.libc_version}"
        yield blocker("ollama", f"Ollama needs glibc 2.28; {have}", "choose another image, as Ubuntu 20.04 or newer")


def driver(case: Case) -> Iterator[Finding]:
    """Cards and a driver that Ollama computes on; without them it takes the CPU, which is slow, and no mistake."""
    if not _wanted(case) or case.gpu_less:
        return
    have = needs.numbers(case.facts.gpu.driver)
    for card in {card.compute_cap: card for card in case.facts.gpus}.values():
        capability = needs.numbers(card.compute_cap)
        least = _DRIVER if not capability or capability >= _OLD_CARDS else _DRIVER_OF_OLD_CARDS
        slow = "Ollama would compute on the CPU"
        if capability and capability < _CAPABILITY:
            yield warning("ollama-gpu", f"{card.name} is too old for Ollama: {slow}", "rent a newer card")
        elif have and have[0] < least:
            yield warning(
                "ollama-gpu",
                f"driver {case.facts.gpu.driver} is too old for Ollama, which needs {least}: {slow}",
                f"rent a host with driver {least} or newer (it belongs to the host, no image has it)",
            )
        else:
            yield ok("ollama-gpu", f"Ollama computes on {card.name}")
    if not case.facts.gpus and case.box and case.box.gpu is None:
        yield ok("ollama-gpu", "no GPU: Ollama computes on the CPU, some tokens a second for a model of 8 billion")


def models(case: Case) -> Iterator[Finding]:
    """Room for the release and for the models whose sizes are known; and whether the cards hold the biggest."""
    if not _wanted(case) or case.box is None or case.box.ollama is None:
        return
    known = {name: _GIGABYTES[name] * 1e9 for name in case.box.ollama.models if name in _GIGABYTES}
    yield from _disk(case, known)
    cards = sum(card.memory_total or 0 for card in case.facts.gpus)
    for name, amount in known.items():
        if cards and amount * _BESIDES > cards:
            yield warning(
                "ollama-memory",
                f"`{name}` takes about {size(amount * _BESIDES)}, the cards have {size(cards)}: the rest is computed on"
                " the CPU, many times slower",
                "choose a smaller tag, or rent more or bigger cards",
            )


def _disk(case: Case, known: dict[str, float]) -> Iterator[Finding]:
    disk = case.data_disk
    if disk is None or disk.free is None or disk.hung or case.converged:
        return
    needed = _RELEASE_BYTES + sum(known.values()) + needs.disk_bytes(case)
    said = f"`{disk.mount or disk.probed}` has {size(disk.free)} free; Ollama and its models take {size(needed)}"
    if disk.free < needed:
        yield blocker("ollama-disk", said, "enlarge the disk, set `data_dir` to a bigger one, or choose smaller tags")
    elif known:
        yield ok("ollama-disk", said)


def _wanted(case: Case) -> bool:
    return case.box is not None and case.box.engine == "ollama"
