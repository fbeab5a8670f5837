"""`matrix.yml`, checked as it is read: every row has a source and a date, and what rows name exists."""

from __future__ import annotations

import datetime  # noqa: TC003 -- pydantic evaluates annotations
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

_Found = TypeVar("_Found")
Text = Annotated[str, Field(min_length=1)]
Ends = tuple[Text, Text]
_FILE = Path(__file__).with_name("matrix.yml")


class RowModel(BaseModel):
    """What every row has."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=False)

    source: Text
    as_of: datetime.date


class Driver(RowModel):
    """The oldest driver (its major version) for a major version of CUDA."""

    cuda: Text
    driver: int


class Cuda(RowModel):
    """The cards that a CUDA release compiles for, and the newest gcc that its nvcc takes."""

    cuda: Text
    oldest: Text
    newest: Text
    gcc: int


class NvccSource(RowModel):
    """Where an nvcc comes from: a label of NVIDIA's conda channel, or wheels."""

    cuda: Text
    how: Literal["conda", "wheels"]
    name: Text


class Torch(RowModel):
    """One torch: its builds by CUDA with the C++ ABI of each; `default` is what the ordinary index has."""

    version: Text
    default: Text
    abi: dict[str, bool]
    python: Ends
    glibc: Text


class Vllm(RowModel):
    """One vLLM wheel. `cap`: what has to be required besides. `variants`: CUDA of wheels on its own index."""

    version: Text
    torch: Text
    cuda: Text
    variants: tuple[str, ...] = ()
    python: Ends
    glibc: Text
    cap: str | None = None


class VllmPin(RowModel):
    """What the role installs when the box file names no version."""

    build: Literal["cpu", "cuda12", "cuda13"]
    version: Text


class VllmCpu(RowModel):
    """One version of vLLM's CPU build."""

    version: Text
    torch: Text
    python: Ends
    glibc: Text


class Limit(RowModel):
    """One number about what kernels and programs run on."""

    what: Text
    value: Text


class FlashAttnWheels(RowModel):
    """Published wheels of one version by one publisher: the rule of their names and for what they exist."""

    version: Text
    publisher: Text
    base_url: Text
    name: Text
    platform: Text
    cuda: dict[str, str]
    torch: tuple[str, ...]
    python: tuple[str, ...]
    without: tuple[dict[Literal["torch", "python", "cuda"], str], ...] = ()
    machine: Text
    glibc: Text
    cards: tuple[str, ...]


class FlashAttnSource(RowModel):
    """One version that is compiled. `units`: files for nvcc. `torch`: oldest and newest."""

    version: Text
    units: int
    cards: tuple[str, ...]
    torch: Ends


class Ktransformers(RowModel):
    """One version of KTransformers and all that it is tied to."""

    recipe: Literal["classic", "current"]
    version: Text
    tag: Text
    torch: Text
    cuda: Text
    python: Ends
    prefer: Text
    transformers: Text
    flash_attn: str | None = None
    nvcc_below: str | None = None
    cards: Ends
    glibc: Text
    glibcxx: str | None = None


class SameDirectory(RowModel):
    """Packages that write one directory."""

    directory: Text
    packages: tuple[str, ...]


class NeverTogether(RowModel):
    """Packages that do not get on."""

    packages: tuple[str, str]
    why: Text


class Cards(RowModel):
    """Compute capability of cards by words of their names."""

    names: tuple[str, ...]
    capability: Text


class Estimate(RowModel):
    """A figure for "about"."""

    what: Text
    value: float
    unit: Literal["B", "s", "B/s", "core_seconds"]


class Matrix(BaseModel):
    """All tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drivers: tuple[Driver, ...]
    cuda: tuple[Cuda, ...]
    nvcc: tuple[NvccSource, ...]
    torch: tuple[Torch, ...]
    vllm: tuple[Vllm, ...]
    vllm_pins: tuple[VllmPin, ...]
    vllm_cpu: tuple[VllmCpu, ...]
    limits: tuple[Limit, ...]
    flash_attn: tuple[FlashAttnWheels, ...]
    flash_attn_sources: tuple[FlashAttnSource, ...]
    ktransformers: tuple[Ktransformers, ...]
    same_directory: tuple[SameDirectory, ...]
    never_together: tuple[NeverTogether, ...]
    cards: tuple[Cards, ...]
    estimates: tuple[Estimate, ...]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        builds = {row.version: row.abi for row in self.torch}
        engines = [(f"vllm {row.version}", row.torch, row.cuda) for row in self.vllm]
        engines += [(f"ktransformers {row.version}", row.torch, row.cuda) for row in self.ktransformers]
        for what, torch, cuda in engines:
            if cuda not in builds.get(torch, {}):
                raise ValueError(f"{what} names torch {torch} with CUDA {cuda}, which is no row of `torch`")
        cudas = {row.cuda for row in self.cuda}
        for name in {cuda for abi in builds.values() for cuda in abi} | {row.cuda for row in self.nvcc}:
            if name not in cudas:
                raise ValueError(f"CUDA {name} is used and is no row of `cuda`")
        return self

    def driver_for(self, cuda: str) -> int:
        """The oldest driver (major version) for a CUDA version. Raises `KeyError` when it is unknown."""
        return next_row(row.driver for row in self.drivers if row.cuda == cuda.partition(".")[0])

    def torch_row(self, version: str) -> Torch:
        """The row of a torch. Raises `KeyError` when it is unknown."""
        return next_row(row for row in self.torch if row.version == version)

    def index_url(self, torch: str, cuda: str) -> str | None:
        """Where that build of torch lies; None: on the ordinary index, which a mirror near the box may have, too."""
        if cuda == self.torch_row(torch).default:
            return None
        return f"https://download.pytorch.org/whl/cu{cuda.replace('.', '')}"

    def pin(self, build: Literal["cpu", "cuda12", "cuda13"]) -> str:
        """The version of vLLM that the role pins for a build."""
        return next_row(row.version for row in self.vllm_pins if row.build == build)

    def limit(self, what: str) -> str:
        """A number about what kernels and programs run on. Raises `KeyError` when there is none."""
        return next_row(row.value for row in self.limits if row.what == what)

    def estimate(self, what: str) -> float:
        """A figure, in the unit of its row. Raises `KeyError` when there is none."""
        return next_row(row.value for row in self.estimates if row.what == what)


def next_row(rows: Iterator[_Found]) -> _Found:
    """The first of them. Raises `KeyError` when there is none."""
    for row in rows:
        return row
    raise KeyError


@cache
def matrix() -> Matrix:
    """The tables, read once. Raises pydantic's `ValidationError` when the file is not right."""
    import yaml

    # Written in C where PyYAML has it: five times as fast, and `up` reads this on its quick way, too.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Matrix.model_validate(yaml.load(_FILE.read_text(encoding="utf-8"), Loader=loader))  # noqa: S506 - safe ones
