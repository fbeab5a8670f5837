"""What is wanted, and which of the ways leads there: decided over what was found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wheelhouse import house
from wheelhouse.check import Fingerprint, Trouble, differences

if TYPE_CHECKING:
    from wheelhouse.house import Wheel

PACKAGE = "flash_attn"
# A published wheel holds every architecture of its release.
ALL = "all"

State = Literal["installed", "kept", "wheel", "source"]


@dataclass(frozen=True)
class Request:
    """The role's variables without their prefix. `sha256` of the source archive, empty when it is not pinned;
    `tools` and `requires` as pip writes them; `index` are the settings of the role `python_env`."""

    root: Path
    env_name: str
    version: str
    build: Literal["auto", "wheel", "source"]
    wheel: str
    wheel_base_url: str
    cuda: str
    archs: str
    max_jobs: int | None
    nvcc_threads: int
    sha256: str
    tools: list[str]
    requires: list[str]
    imports: list[str]
    index: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Request:
        """The request from its JSON text."""
        values = json.loads(text)
        return cls(**{**values, "root": Path(values["root"])})

    @property
    def environment(self) -> Path:
        """The environment that gets it."""
        return self.root / "envs" / self.env_name

    @property
    def house(self) -> Path:
        """Where wheels are kept."""
        return self.root / "wheelhouse"


def decide(request: Request, now: Fingerprint, noted: dict[str, str], kept: Wheel | None, *, there: bool) -> State:
    """What is to be done: `noted` in the environment at the last install, whether it is `there` still, and the wheel
    that is `kept` for what is in the environment now. Raises `Trouble` when nothing fits and nothing may be
    compiled."""
    fits = noted.get("version") == request.version and noted.get("arch") in (request.archs, ALL)
    as_asked = request.build != "source" or noted.get("origin") == "built"
    if there and fits and as_asked and not differences(noted, now):
        return "installed"
    if kept is not None:
        return "kept"
    if request.wheel and request.build != "source":
        return "wheel"
    if request.build == "wheel":
        raise Trouble(
            f"no published wheel of FlashAttention {request.version} fits (torch {now.torch}, CUDA {now.cuda}, "
            f"ABI {now.abi}, {now.python}), and `flash_attn.build` is `wheel`: "
            "set it to `auto` to compile, or choose another torch"
        )
    if now.cuda == "none":
        raise Trouble(
            f"`{request.environment}` holds torch {now.torch} without CUDA, and FlashAttention is for GPUs: install a "
            "torch for CUDA there, or leave `flash_attn` out of the box file"
        )
    return "source"


def find_kept(request: Request, now: Fingerprint) -> Wheel | None:
    """The wheel of the house for what is in the environment. One that has rotted is not there."""
    for arch in (request.archs, ALL):
        if arch == ALL and request.build == "source":
            continue
        try:
            found = house.find(request.house, house.key_of(PACKAGE, request.version, now, arch))
        except Trouble:
            continue
        if found is not None:
            return found
    return None


def is_there(environment: Path) -> bool:
    """Whether the package lies in the environment."""
    return any(environment.glob(f"lib/python3.*/site-packages/{PACKAGE}-*.dist-info"))
