"""Names of graphics cards, as people and providers write them.

`4090`, `RTX 4090` and `NVIDIA GeForce RTX 4090` are one card; `4090D`, `4090 Ti` and `L40S` are others than `4090` and
`L40`. A memory size or a form in the name (`A100-SXM4-80GB`) counts only when it was asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# They tell no card from another: makers, families, and the generations that a model number already says.
_NOISE = frozenset(
    {"nvidia", "geforce", "tesla", "quadro", "rtx", "gtx", "graphics", "card", "gpu"}
    | {"amd", "radeon", "instinct", "huawei", "ascend"}
    | {"blackwell", "generation", "workstation", "server", "edition"}
)
# What a name may say besides the model: nobody who leaves it out means that it must not be there.
_FORM = re.compile(r"sxm\d?|pcie|nvl|nvlink|hbm\d?e?|oam|\d{2,3}w")
_MEMORY = re.compile(r"(?<![a-z0-9.])(\d{1,3})\s*g(?:i?b)?(?![a-z0-9])")
_GLUED = re.compile(r"(nvidia|geforce|tesla|quadro|rtx|gtx|pro)(?=a?\d)")
_SUFFIX = re.compile(r"(?<![a-z0-9])(\d{3,4})(d|ti|super|s)(?![a-z0-9])")
# AutoDL's `4080(S)`: the box comes with either.
_PERHAPS_SUPER = re.compile(r"(?<=\d)\s*\(s\)")
# A 24 GB card shows 23.99 GiB, an L40S of 48 GB 44.7 GiB (error correction takes its part).
_LEAST_OF_MEMORY, _MOST_OF_MEMORY = 0.9, 1.05


@dataclass(frozen=True, slots=True)
class Card:
    """What a name says. `words` tell the model; `perhaps` are words that the card may have or not; memory in GB."""

    words: frozenset[str]
    perhaps: frozenset[str]
    form: frozenset[str]
    memory: int | None


def card(name: str) -> Card:
    """Read a name. One that names no card at all (`NVIDIA`) has no words."""
    text = name.lower()
    perhaps = frozenset({"super"}) if _PERHAPS_SUPER.search(text) else frozenset()
    text = _GLUED.sub(r"\1 ", _PERHAPS_SUPER.sub(" ", text))
    sizes = [int(size) for size in _MEMORY.findall(text)]
    text = _SUFFIX.sub(r"\1 \2", _MEMORY.sub(" ", text))
    found = {"super" if word == "s" else word for word in re.findall(r"[a-z0-9]+", text)} - _NOISE
    form = frozenset(word for word in found if _FORM.fullmatch(word))
    return Card(frozenset(found - form), perhaps, form, sizes[0] if sizes else None)


def same_card(wanted: str, name: str, vram_gib: float | None = None) -> bool | None:
    """Whether the card `name` (with `vram_gib` GiB of memory) is what `wanted` means.

    None when it is that model, and nobody says whether with the memory that is wanted.
    """
    want, have = card(wanted), card(name)
    if not want.words or want.words - have.perhaps != have.words - have.perhaps or want.form - have.form:
        return False
    if want.memory is None or want.memory == have.memory:
        return True
    if vram_gib is None:
        return None if have.memory is None else False
    return _LEAST_OF_MEMORY * want.memory <= vram_gib <= _MOST_OF_MEMORY * want.memory
