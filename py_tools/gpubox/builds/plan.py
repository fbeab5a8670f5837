"""What the resolver says: environments, wheels, compilers, refusals, and a table with the reason of each choice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was decided, for what, and why."""

    what: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it cannot be. `fix`: the nearest combination that is known, or what to change. `check`: preflight's word."""

    check: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Warned:
    """What will hurt, or may."""

    check: str
    message: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of one service. `index_url`: where torch comes from, None: the ordinary index.

    `abi` is torch's C++ ABI, `cuda` its CUDA as in "12.8"; both None on a CPU or without torch.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    torch: str | None = None
    cuda: str | None = None
    abi: bool | None = None
    index_url: str | None = None


@dataclass(frozen=True, slots=True)
class FlashAttention:
    """How flash-attn comes into `environment`: the published `wheel`, or compiled.

    `archs`: FLASH_ATTN_CUDA_ARCHS. `max_jobs` is what the box file says (None: by the box's CPUs and memory when it
    starts), `jobs` what that rule comes to by the facts. `units`: files that nvcc compiles.
    """

    environment: str
    version: str
    build: Literal["wheel", "source"]
    archs: tuple[str, ...]
    wheel: str = ""
    base_url: str = ""
    publisher: str = ""
    max_jobs: int | None = None
    jobs: int = 1
    nvcc_threads: int = 1
    units: int = 0


@dataclass(frozen=True, slots=True)
class Nvcc:
    """The compiler for what is built on the box: its CUDA version, and where it comes from."""

    version: str
    how: Literal["system", "wheels", "conda"]
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """What has to be done, with about how long it takes and how much it puts on the data disk.

    `seconds` None: not known. `download` and `disk` in bytes. `chain`: steps of one chain wait for each other, chains
    run side by side.
    """

    what: str
    seconds: float | None
    download: float
    disk: float
    why: str
    chain: str = "environment"


class Estimated:
    """What a list of steps comes to."""

    __slots__ = ()
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """About how long the longest chain takes; at least that long where `at_least`."""
        return longest(self.steps)

    @property
    def at_least(self) -> bool:
        """Whether the time of a step is not known."""
        return any(step.seconds is None for step in self.steps)

    @property
    def disk_bytes(self) -> float:
        """About how much all of it puts on the data disk."""
        return sum(step.disk for step in self.steps)


@dataclass(frozen=True, slots=True)
class Plan(Estimated):
    """The decision for one box. Without facts (`decided` False) some of it is left open until the box is seen."""

    engine: str | None
    environments: tuple[Environment, ...] = ()
    flash_attn: FlashAttention | None = None
    nvcc: Nvcc | None = None
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[Warned, ...] = ()
    rows: tuple[Row, ...] = ()
    steps: tuple[Step, ...] = ()
    decided: bool = True
    choices: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        found = asdict(self)
        return {**found, "seconds": self.seconds, "at_least": self.at_least, "disk_bytes": self.disk_bytes}


def longest(steps: tuple[Step, ...]) -> float:
    """Seconds of the longest chain, as far as known; steps of the chain `all` come before or after all others."""
    chains: dict[str, float] = {}
    for step in steps:
        chains[step.chain] = chains.get(step.chain, 0.0) + (step.seconds or 0.0)
    every = chains.pop("all", 0.0)
    return every + max(chains.values(), default=0.0)
