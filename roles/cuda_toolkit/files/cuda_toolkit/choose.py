"""Where a CUDA compiler comes from: a decision over what was found, and nothing done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["system", "wheels", "conda"]


class Trouble(Exception):
    """What went wrong, in one line for people."""


@dataclass(frozen=True)
class Found:
    """What the box has: nvcc's release by the directory of its toolkit, and a conda program or none."""

    toolkits: dict[str, str]
    conda: str | None


@dataclass(frozen=True)
class Choice:
    """Where it comes from: `place` is the toolkit of the system or the conda program."""

    source: Source
    place: str = ""


def choose(version: str, wanted: str, wheels: list[str], found: Found) -> Choice:
    """The source for CUDA `version` ("12.4"); `wanted` is auto or one of the sources, `wheels` the packages that hold
    an nvcc of this version. Raises `Trouble` with what would help.

    PyPI's wheels of CUDA 12 and older hold ptxas, headers and libnvvm, but neither nvcc nor cicc.
    """
    fits = next((place for place, release in found.toolkits.items() if release == version), None)
    can: dict[str, Choice | None] = {
        "system": Choice("system", fits) if fits else None,
        "wheels": Choice("wheels") if wheels else None,
        "conda": Choice("conda", found.conda) if found.conda else None,
    }
    for source in can if wanted == "auto" else [wanted]:
        if choice := can[source]:
            return choice
    there = ", ".join(f"{release} in `{place}`" for place, release in found.toolkits.items()) or "none"
    why = {
        "system": f"the box has no nvcc {version} (found: {there})",
        "wheels": f"no wheels hold an nvcc {version}",
        "conda": "no conda, mamba or micromamba was found",
    }
    reasons = "; ".join(why[source] for source in (can if wanted == "auto" else [wanted]))
    raise Trouble(
        f"there is nothing to take CUDA {version} from: {reasons}. Rent the box with an image that has CUDA {version} "
        "or conda, or choose a torch whose CUDA is there"
    )
