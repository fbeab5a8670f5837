"""The checks, in the order in which a person would ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.preflight import gpus, ktransformers, ollama, packages, storage, system, vllm
from gpubox.preflight.case import Case
from gpubox.preflight.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpubox.boxfile import BoxFile
    from gpubox.preflight.findings import Finding
    from gpubox.remote.facts import Facts

CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    gpus.mode,
    gpus.count,
    gpus.name,
    gpus.driver,
    gpus.capability,
    gpus.parallel,
    gpus.busy,
    packages.fit,
    vllm.options,
    ollama.libc,
    ollama.driver,
    ollama.models,
    system.architecture,
    system.instructions,
    system.libc,
    system.python,
    system.tools,
    system.libraries,
    storage.data_disk,
    storage.space,
    storage.inodes,
    storage.temporary,
    storage.other_disks,
    storage.memory,
    storage.shared_memory,
    system.cores,
    ktransformers.threads,
    ktransformers.nodes,
    ktransformers.memory,
    ktransformers.disk,
    ktransformers.compilers,
    ktransformers.instructions,
    ktransformers.options,
    ktransformers.cards,
    ktransformers.weights_directory,
    system.ports,
    system.clock,
    system.login,
)


def plan(facts: Facts, box: BoxFile | None) -> Findings:
    """Compare what the box is with what it shall be; without a box file, with what gpubox itself needs.

    Pure: reads nothing and changes nothing. Blockers mean that going on would fail.
    """
    case = Case(facts, box)
    return Findings.of(finding for check in CHECKS for finding in check(case))
