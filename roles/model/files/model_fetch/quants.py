"""One of the quantizations that a GGUF repository offers side by side, chosen by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_fetch.errors import Asked
from model_fetch.words import count, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_fetch.listing import RemoteFile

# Names as llama.cpp's `llama-quantize` and the usual publishers write them: Q4_K_M, IQ1_S, UD-Q2_K_XL, BF16, MXFP4_MOE.
_QUANT = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:(?:IQ|TQ|Q)[0-9](?:_[A-Za-z0-9]+)*|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"-([0-9]{5})-of-([0-9]{5})$")
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".npz", ".tflite")
# Something that goes along with a quant is a config, a tokenizer, a template: no weights under another name.
_SMALL = 64 * 10**6


@dataclass(slots=True)
class _Model:
    """The shards of one model in one quantization."""

    name: str
    files: list[RemoteFile] = field(default_factory=list)
    shards: set[int] = field(default_factory=set)
    of: int = 0

    @property
    def missing(self) -> list[int]:
        return [number for number in range(1, self.of + 1) if number not in self.shards]


def is_weights(path: str) -> bool:
    """Whether a file of that name holds weights."""
    return path.lower().endswith(WEIGHTS)


def quant_of(path: str) -> str:
    """The quantization that a path names, in capitals: the file's own word, else its directory's; empty for none."""
    stem = _SHARD.sub("", path.removesuffix(".gguf"))
    for part in reversed(stem.split("/")):
        if found := _QUANT.findall(part):
            return str(found[-1]).upper()
    return ""


def choose(files: Iterable[RemoteFile], quant: str) -> list[RemoteFile]:
    """The GGUF files of that quantization, and the small files beside them.

    Raises `Asked` when it is not offered (naming those that are, with sizes), when shards are missing, or when several
    models have it.
    """
    files = list(files)
    offered = _offered(files)
    wanted = quant.upper()
    if wanted not in offered:
        near = [name for name in offered if name.removeprefix("UD-") == wanted]
        if len(near) != 1:
            raise Asked(f"there is no quantization `{quant}`", _offers(offered))
        wanted = near[0]
    models = offered[wanted]
    if len(models) > 1:
        names = ", ".join(f"`{model.name}`" for model in models)
        raise Asked(f"`{quant}` is offered for several models: {names}", "choose one by `include`")
    model = models[0]
    if model.missing:
        lost = ", ".join(f"{number:05d}" for number in model.missing[:5])
        raise Asked(
            f"of `{model.name}` only {len(model.shards)} of {count(model.of, 'shard')} are there; missing: {lost}",
            "the publisher's upload is not complete, or `include` leaves shards out",
        )
    beside = [file for file in files if not is_weights(file.path) and file.size <= _SMALL]
    return sorted([*beside, *model.files], key=lambda file: file.path)


def _offered(files: list[RemoteFile]) -> dict[str, list[_Model]]:
    found: dict[str, dict[str, _Model]] = {}
    for file in files:
        name = file.path.rpartition("/")[2].lower()
        # A projector for images is a model of its own kind, in a precision of its own.
        if not name.endswith(".gguf") or name.startswith("mmproj"):
            continue
        stem = file.path.removesuffix(".gguf")
        shard = _SHARD.search(stem)
        base = _SHARD.sub("", stem)
        quant = quant_of(file.path)
        model = found.setdefault(quant, {}).setdefault(base, _Model(base))
        model.files.append(file)
        if shard:
            model.shards.add(int(shard[1]))
            model.of = int(shard[2])
    return {quant: list(models.values()) for quant, models in sorted(found.items()) if quant}


def _offers(offered: dict[str, list[_Model]]) -> str:
    if not offered:
        return "the repository has no GGUF files; remove `quant`"
    sizes = {name: sum(file.size for model in models for file in model.files) for name, models in offered.items()}
    ordered = sorted(sizes.items(), key=lambda item: item[1])
    return "it offers " + ", ".join(f"{name} ({size(amount)})" for name, amount in ordered)
