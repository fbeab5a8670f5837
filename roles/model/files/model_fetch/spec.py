"""What is asked for, as JSON from the role or from `gpubox`."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from model_fetch.errors import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping

HUBS = ("modelscope", "huggingface")
# What `gpubox up` copies here itself; `id` says from where.
COPIED = "copied"
OFFICIAL = "https://huggingface.co"
MIRROR = "https://hf-mirror.com"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the hubs are, and how to fetch. Endpoints are URLs without a slash at the end."""

    # The defaults of the hubs' own clients (MODELSCOPE_ENDPOINT, HF_ENDPOINT).
    modelscope_endpoint: str = "https://modelscope.cn"
    huggingface_endpoint: str = OFFICIAL
    huggingface_mirror: str = MIRROR
    # Connections at the same time, at most; how many there are is measured.
    connections: int = 16
    # A connection that brings nothing for so long is made anew.
    stall_seconds: float = 20.0
    # Without a single byte for so long, all sources and tries together, it gives up.
    patience_seconds: float = 900.0
    # Left free on the disk.
    min_free_bytes: int = 256 * 2**20
    # How long it waits for room when the disk has become full.
    disk_wait_seconds: float = 300.0
    # Whether another hub that lists the same SHA-256 may be asked when the first one fails.
    other_sources: bool = True
    # AutoDL's script that sets proxies for Hugging Face and GitHub.
    network_turbo: str = "/etc/network_turbo"
    modelscope_token: str = field(default="", repr=False)
    huggingface_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Spec:
    """One model. `directory` is where it shall lie; empty: only its plan is asked for."""

    name: str
    source: str
    id: str
    revision: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    quant: str = ""
    # false: everything but the weights, for an engine that has them from elsewhere.
    weights: bool = True
    directory: str = ""
    # true: ask the hub again what its newest revision is, although the model is there.
    refresh: bool = False
    settings: Settings = Settings()

    @property
    def key(self) -> str:
        """SHA-256 of what is asked for. Where it is fetched from and how fast does not change the model."""
        asked = [self.source, self.id, self.revision, self.include, self.exclude, self.quant.upper(), self.weights]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def from_json(data: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Spec:
    """The spec in `data`: `Spec`'s fields, with `Settings`' beside them. Raises `Asked` for what cannot be.

    `models` may stand for `directory`: where each model has a directory of its name. Tokens that are not given are
    taken from MODELSCOPE_API_TOKEN and HF_TOKEN.
    """
    known = {item.name for item in fields(Settings)}
    own = {item.name for item in fields(Spec)} - {"settings"}
    if strange := sorted(set(data) - known - own - {"models"}):
        raise Asked(f"a model has no field `{strange[0]}`", f"it has {', '.join(sorted(own))}")
    settings = {name: value for name, value in data.items() if name in known and value not in ("", None)}
    for name, variable in (("modelscope_token", "MODELSCOPE_API_TOKEN"), ("huggingface_token", "HF_TOKEN")):
        settings.setdefault(name, environ.get(variable, "").strip())
    for name in ("modelscope_endpoint", "huggingface_endpoint", "huggingface_mirror"):
        if name in settings:
            settings[name] = str(settings[name]).rstrip("/")
    words = {name: value for name, value in data.items() if name in own and value is not None}
    for name in ("include", "exclude"):
        words[name] = tuple(words.get(name, ()))
    if data.get("models"):
        words["directory"] = f"{data['models']}/{data.get('name')}"
    missing = [name for name in ("name", "source", "id") if not words.get(name)]
    if missing:
        raise Asked(f"a model needs `{missing[0]}`")
    if words["source"] not in (*HUBS, COPIED):
        raise Asked(f"`{words['source']}` is no hub", f"there are {' and '.join(HUBS)}")
    return Spec(**words, settings=Settings(**settings))
