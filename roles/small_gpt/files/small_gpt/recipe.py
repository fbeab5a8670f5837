"""What decides the weights, and the key under which a finished model is known."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Literal

from .errors import WrongVersions

Precision = Literal["auto", "bf16", "fp32"]

# Other versions of these may round differently or write other files; the rest does not reach the weights.
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of a training. Sizes are in units of the architecture, `learning_rate` is the peak."""

    epochs: int = 18
    seed: int = 42
    precision: Precision = "auto"
    batch_tokens: int = 640
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    copy_rows: int = 24
    vocabulary: int = 2048
    max_token_bytes: int = 6  # without a cap whole phrases become one token, and streaming shows nothing
    layers: int = 4
    hidden: int = 256
    feed_forward: int = 704
    heads: int = 4
    kv_heads: int = 2
    context: int = 2048
    rope_theta: float = 10000.0

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


def key(recipe: Recipe, versions: dict[str, str], package: Path = Path(__file__).parent) -> str:
    """SHA-256 over the package's files, the recipe and the libraries' versions: same key, same model."""
    digest = hashlib.sha256()
    for path in sorted(path for path in package.iterdir() if path.suffix in {".py", ".yml", ".md"}):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    decided = {"recipe": dataclasses.asdict(recipe), "versions": versions}
    digest.update(json.dumps(decided, sort_keys=True).encode())
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    """Versions of LIBRARIES without local parts (`2.13.0+cpu` is `2.13.0`). Raises WrongVersions if one is missing."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError as error:
            raise WrongVersions(
                f"`{name}` is not installed for this Python", hint="run it in the environment that the role makes"
            ) from error
    return found


def check_versions(required: dict[str, str], installed: dict[str, str]) -> None:
    """Raises WrongVersions unless every required version is the installed one."""
    wrong = [
        f"{name} {installed.get(name, 'missing')} instead of {version}"
        for name, version in required.items()
        if installed.get(name) != version
    ]
    if wrong:
        raise WrongVersions(
            f"the environment has {', '.join(wrong)}", hint="install the versions that --require names, or change it"
        )
