"""Every field of a box file: its type, its range, its unit. The JSON Schema and the reference are made from this."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from gpubox.boxfile.autodl import Autodl
from gpubox.boxfile.compshare import Compshare
from gpubox.boxfile.ec2 import Ec2
from gpubox.boxfile.engines import FlashAttn, Ktransformers, Ollama, Vllm
from gpubox.boxfile.kinds import (  # noqa: TC001 -- pydantic evaluates annotations
    BoxPath,
    Duration,
    HubId,
    Port,
    Positive,
    PythonVersion,
    Text,
    Url,
)
from gpubox.boxfile.section import Section
from gpubox.boxfile.web_ui import Agent, WebUi

__all__ = [
    "ENGINES",
    "LONG",
    "SHORT",
    "SMALL_GPT",
    "Agent",
    "Autodl",
    "BeforeStop",
    "BoxFile",
    "Compshare",
    "Ec2",
    "Engine",
    "Finetune",
    "FlashAttn",
    "Gpu",
    "Guard",
    "Ktransformers",
    "ModelSource",
    "Ollama",
    "ProviderName",
    "PythonEnv",
    "SmallGpt",
    "Tunnel",
    "Vllm",
    "WebUi",
]

Engine = Literal["vllm", "ktransformers", "ollama"]
ProviderName = Literal["attach", "local", "autodl", "compshare", "ec2"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
SMALL_GPT = "small-gpt"

# Two fields have a short form (a word) and a long one (a section). The tags appear in pydantic's error locations.
SHORT, LONG = "<short>", "<long>"


def _form(value: object) -> str:
    return LONG if isinstance(value, dict | Section) else SHORT


class Gpu(Section):
    """The GPUs that the box has, or that are to be rented."""

    name: Text = Field(description="The card's name, as the provider writes it.", examples=["RTX 4090", "RTX 4090 D"])
    count: Annotated[int, Field(ge=1, le=16)] = Field(default=1, description="Cards in one box.")


class ModelSource(Section):
    """A model from a hub, from this machine, from another box, or one that lies on the box already."""

    source: Literal["modelscope", "huggingface", "path", "folder", "box"] = Field(
        description="Where the model comes from. folder: a directory of this machine. box: another box of the ledger."
    )
    id: HubId | None = Field(default=None, description="Owner and name on the hub, for modelscope and huggingface.")
    path: BoxPath | None = Field(
        default=None,
        description="The model's directory on the box, for `source: path`, or on the other box, for `source: box`.",
    )
    folder: Text | None = Field(
        default=None,
        description="The model's directory on this machine, for `source: folder`, as in ./models/qwen3-8b.",
    )
    box: Text | None = Field(default=None, description="Name of the box that has the model, for `source: box`.")
    revision: Text | None = Field(default=None, description="Branch, tag or commit on the hub; left out: its newest.")
    include: tuple[Text, ...] = Field(default=(), description="Globs of the files to fetch; left out: all.")
    exclude: tuple[Text, ...] = Field(default=(), description="Globs of files to leave out, on the hub.")
    quant: Text | None = Field(
        default=None, description="Which of the quantizations that the hub offers side by side, as in Q4_K_M."
    )


class PythonEnv(Section):
    """Where Python and its packages come from on the box, for every environment made there."""

    python: PythonVersion | None = Field(default=None, description="Python's version; left out: each role's own.")
    index_url: Url | None = Field(default=None, description="Package index; left out: the box's own pip configuration.")
    extra_index_urls: tuple[Url, ...] = Field(default=(), description="Further package indexes.")
    find_links: tuple[Text, ...] = Field(
        default=(), description="Directories on the box, or URLs of pages, with wheels."
    )
    no_index: bool | None = Field(default=None, description="true: wheels come from `find_links` only.")


class SmallGpt(Section):
    """How the embedded small model is trained, for `model: small-gpt`."""

    epochs: Positive | None = Field(default=None, description="Passes over the training set.")
    seed: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Start of the random numbers.")
    threads: Positive | None = Field(
        default=None, description="CPU threads; left out: one, the fastest on shared cores."
    )


class Finetune(Section):
    """The fine-tune that the box is for."""

    recipe: Text = Field(description="Recipe file on this machine, as in recipes/self-cognition.yml.")


class BeforeStop(Section):
    """What the guard does before it powers the box off. Jobs and services have ended when files are copied."""

    command: Text | None = Field(default=None, description="Shell command to run on the box, before anything is ended.")
    snapshot_to: BoxPath | None = Field(
        default=None,
        description="Directory on a disk that survives the box, as in /root/autodl-fs/saved: what exists only on the"
        " box is copied there.",
    )
    paths: tuple[Text, ...] = Field(
        default=(), description="Globs of further files to copy, absolute or below <data_dir>/gpubox."
    )
    timeout: Duration | None = Field(
        default=None, description="How long all of it may take; left out: 10m. Then the box goes off all the same."
    )


class Guard(Section):
    """When the box powers itself off, laptop or no laptop."""

    ttl: Duration | None = Field(default=None, description="Time to live from the first `up` on, as in 8h.")
    idle: Duration | None = Field(default=None, description="Time without a request or a job, as in 30m.")
    idle_gpu_percent: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="A GPU with less to do, in percent, is idle; left out: 5."
    )
    budget: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Money that the box may cost, in the currency of its price."
    )
    price_per_hour: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="What the box costs per hour, for `budget`, where the provider does not say."
    )
    warn: Duration | None = Field(
        default=None, description="How long before it powers off it says so; left out: 10m. At most half of the limit."
    )
    before_stop: BeforeStop | None = Field(default=None, description="What to do before the box goes off.")


class Tunnel(Section):
    """One more port of the box to open on this machine's 127.0.0.1."""

    remote: Port = Field(description="Port on 127.0.0.1 of the box.")
    local: Port | None = Field(default=None, description="Port on this machine; left out: the same as `remote`.")


class BoxFile(Section):
    """What a box shall be.

    An optional field that was left out is None, so that role defaults hold. The section of the chosen engine is always
    there (`load` sees to `ollama`), and so is `small_gpt` for the small model. Rules between fields are checked by
    `load`, not here.
    """

    provider: ProviderName = Field(
        description="Where the box comes from. attach: any SSH login (`gpubox add`). local: this machine, no GPU."
    )
    count: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="How many boxes of this kind.")
    gpu: Gpu | None = Field(default=None, description="GPUs of the box; left out: whatever it has.")
    max_price: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="What the box may cost per hour, in the provider's currency; nothing dearer is rented.",
    )
    autodl: Autodl | None = Field(default=None, description="What to rent, for `provider: autodl`.")
    compshare: Compshare | None = Field(default=None, description="What to rent, for `provider: compshare`.")
    ec2: Ec2 | None = Field(default=None, description="What to rent, for `provider: ec2`.")
    prepare: Literal["without-gpu"] | None = Field(
        default=None,
        description="without-gpu: downloads run while the box is started without its GPU, where the provider can.",
    )
    data_dir: BoxPath | None = Field(
        default=None,
        description="Big disk of the box; left out: /root/autodl-tmp where that exists, else ~/gpubox-data.",
    )
    engine: Engine | None = Field(default=None, description="What serves the model.")
    model: (
        Annotated[Annotated[Literal["small-gpt"], Tag(SHORT)] | Annotated[ModelSource, Tag(LONG)], Discriminator(_form)]
        | None
    ) = Field(default=None, description="`small-gpt` (made on the box in a minute, no download), or a section.")
    python_env: PythonEnv = Field(default=PythonEnv(), description="Where Python and its packages come from.")
    small_gpt: SmallGpt | None = Field(default=None, description="How the small model is trained.")
    vllm: Vllm | None = Field(default=None, description="Settings of `engine: vllm`.")
    ktransformers: Ktransformers | None = Field(default=None, description="Settings of `engine: ktransformers`.")
    ollama: Ollama | None = Field(default=None, description="Settings of `engine: ollama`.")
    flash_attn: FlashAttn | None = Field(
        default=None, description="FlashAttention for the engine; KTransformers (classic) has it anyway."
    )
    web_ui: Annotated[
        Annotated[bool, Tag(SHORT)] | Annotated[WebUi, Tag(LONG)],
        Discriminator(_form),
    ] = Field(default=False, description="Web UI: true, false, or a section that says where.")
    agents: tuple[Agent, ...] = Field(
        default=(), description="Agents of the web UI. Changed in place when they change here; one left out here stays."
    )
    finetune: Finetune | None = Field(default=None, description="Fine-tune that the box is for.")
    guard: Guard | None = Field(
        default=None,
        description="When the box powers itself off; left out: 24 hours after it was rented, not at all if it was not.",
    )
    notify: bool = Field(
        default=False,
        description="true: the guard on the box pushes to the destinations of `gpubox notify`, too. These URLs, which"
        " hold secrets, then lie on the box (mode 0600).",
    )
    keep: tuple[Text, ...] = Field(
        default=(),
        description="Globs below <data_dir>/gpubox: brought home by `down`, besides results, logs and own models.",
    )
    tunnels: tuple[Tunnel, ...] = Field(
        default=(), description="Further ports to open; engine and web UI have theirs already."
    )

    @model_validator(mode="after")
    def _with_own_sections(self) -> Self:
        # Past the frozen `__setattr__`: the model is not handed out yet. `ollama` names models, unless `model` does.
        if self.engine == "vllm" and self.vllm is None:
            object.__setattr__(self, "vllm", Vllm())
        if self.engine == "ktransformers" and self.ktransformers is None:
            object.__setattr__(self, "ktransformers", Ktransformers())
        if self.engine == "ollama" and self.ollama is None and isinstance(self.model, ModelSource):
            object.__setattr__(self, "ollama", Ollama())
        if self.provider == "autodl" and self.autodl is None:
            object.__setattr__(self, "autodl", Autodl())
        if self.provider == "compshare" and self.compshare is None:
            object.__setattr__(self, "compshare", Compshare())
        if self.provider == "ec2" and self.ec2 is None:
            object.__setattr__(self, "ec2", Ec2())
        if self.model == SMALL_GPT and self.small_gpt is None:
            object.__setattr__(self, "small_gpt", SmallGpt())
        return self

    @property
    def engine_port(self) -> int | None:
        """Port of the engine on 127.0.0.1 of the box; None without an engine."""
        section = {"vllm": self.vllm, "ktransformers": self.ktransformers, "ollama": self.ollama}.get(self.engine or "")
        return section.port if section else None

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names of Ollama's models, the one that has to answer first; empty for engines that serve one model."""
        if self.engine != "ollama" or self.ollama is None:
            return ()
        own = self.ollama.model_name
        if own is None and isinstance(self.model, ModelSource):
            # As the role `ollama` names it.
            source = (self.model.id or self.model.path or self.model.folder or "").rstrip("/")
            own = source.rpartition("/")[2].lower().removesuffix(".gguf")
        return (*((own,) if own else ()), *self.ollama.models)

    @property
    def web_ui_settings(self) -> WebUi | None:
        """The web UI's section, with its defaults for `web_ui: true`; None when there is none."""
        return self.web_ui if isinstance(self.web_ui, WebUi) else WebUi() if self.web_ui else None
