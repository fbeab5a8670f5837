"""What must hold between the fields of a box file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpubox.boxfile import autodl_cards, web_ui_rules
from gpubox.boxfile.models import ENGINES, SMALL_GPT, ModelSource
from gpubox.boxfile.problem import Problem
from gpubox.words import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile.engines import Ktransformers
    from gpubox.boxfile.mistakes import Path
    from gpubox.boxfile.models import BoxFile

# Options that gpubox sets itself, and why, or by which field. A key among the options would be seen by everybody who
# may list processes, and another address would open the box to the network.
_OWN_OPTIONS = {
    "--host": "services listen on 127.0.0.1 only, and `gpubox tunnel` brings them here",
    "--port": "use the field `port`",
    "--api-key": "use the field `api_key`",
    "--api_key": "use the field `api_key`",
    "--model": "use the field `model`",
    "--model_path": "use the field `model_path`",
    "--model_name": "use the field `model_name`",
    "--served-model-name": "use the field `served_model_name`",
    "--cpu_infer": "use the field `cpu_infer`",
    "--gguf_path": "use the field `model`",
    "--backend_type": "use the field `backend_type`",
    "--kt-cpuinfer": "use the field `cpu_infer`",
    "--kt-method": "use the field `kt_method`",
    "--kt-weight-path": "use the field `kt_weight_path`",
    "--kt-threadpool-count": "use the field `kt_threadpool_count`",
    "--model-path": "use the field `model_path`",
    "--cache_lens": "use the field `cache_lens`",
    "--max_new_tokens": "use the field `max_new_tokens`",
    "--max-model-len": "use the field `max_model_len`",
    "--tensor-parallel-size": "use the field `tensor_parallel_size`",
    "-tp": "use the field `tensor_parallel_size`",
    "--pipeline-parallel-size": "use the field `pipeline_parallel_size`",
    "--gpu-memory-utilization": "use the field `gpu_memory_utilization`",
}

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*")


def check(box: BoxFile) -> list[Problem]:
    """Every rule that `box` breaks."""
    return [problem for rule in _RULES for problem in rule(box)]


def _engine_sections(box: BoxFile) -> Iterator[Problem]:
    for name in ENGINES:
        if getattr(box, name) is not None and box.engine != name:
            chosen = f"the box file has `engine: {box.engine}`" if box.engine else "the box file has no `engine`"
            yield Problem((name,), f"this section is for `engine: {name}`, but {chosen}", ("engine",))
    if box.small_gpt is not None and box.model != SMALL_GPT:
        yield Problem(("small_gpt",), f"this section is for `model: {SMALL_GPT}`", ("model",))


def _model(box: BoxFile) -> Iterator[Problem]:
    if box.engine == "ollama" and not (box.ollama and box.ollama.models) and box.model is None:
        message = "`engine: ollama` needs `ollama.models`, as in [deepseek-r1:8b], or a `model` in GGUF"
        yield Problem(("engine",), message, ("ollama", "model"))
    if box.engine in ("vllm", "ktransformers") and box.model is None:
        yield Problem(("engine",), f"`engine: {box.engine}` needs a `model`", ("model",))
    if box.engine in ("ollama", "ktransformers") and box.model == SMALL_GPT:
        yield Problem(("model",), f"`{SMALL_GPT}` is served by `engine: vllm` only", ("engine",))
    if not isinstance(box.model, ModelSource):
        return
    yield from _source(box.model)


# What each source needs, and what else it may have.
_SOURCES = {
    "modelscope": (("id",), ("revision", "include", "exclude", "quant")),
    "huggingface": (("id",), ("revision", "include", "exclude", "quant")),
    "path": (("path",), ()),
    "folder": (("folder",), ("include",)),
    "box": (("box", "path"), ("include",)),
}


def _source(model: ModelSource) -> Iterator[Problem]:
    needs, may = _SOURCES[model.source]
    for name in needs:
        if getattr(model, name) is None:
            yield Problem(("model",), f"`source: {model.source}` needs `{name}`", ("model.source", f"model.{name}"))
    for name in ("id", "path", "folder", "box", "revision", "include", "exclude", "quant"):
        if getattr(model, name) and name not in (*needs, *may):
            others = [f"`{source}`" for source, fields in _SOURCES.items() if name in fields[0] + fields[1]]
            message = f"is for the source {' or '.join(others)}, not for `{model.source}`"
            yield Problem(("model", name), message, ("model.source",))
    field = {"path": "", "folder": "folder", "box": "path"}.get(model.source, "id")
    place = str(getattr(model, field) or "") if field else ""
    if place and not _MODEL_NAME.fullmatch(place.rstrip("/").rpartition("/")[2]):
        message = "its last part names the model on the box: letters, digits and . _ + @ -, please"
        yield Problem(("model", field), message, ("model.source",))


def _gpus(box: BoxFile) -> Iterator[Problem]:
    vllm = box.vllm
    if box.provider == "local" and box.gpu is not None:
        yield Problem(("gpu",), "`provider: local` uses no GPU; remove `gpu`, or attach the machine", ("provider",))
    if box.provider == "local" and vllm is not None and vllm.build == "cuda":
        yield Problem(("vllm", "build"), "`provider: local` uses no GPU; allowed: auto, cpu", ("provider",))
    if vllm is not None and vllm.build == "cuda" and vllm.cpu_kvcache_space is not None:
        yield Problem(("vllm", "cpu_kvcache_space"), "is for the CPU build, not for `build: cuda`", ("vllm.build",))
    if vllm is None or box.gpu is None or vllm.build == "cpu":
        return
    tensor, pipeline = vllm.tensor_parallel_size or 1, vllm.pipeline_parallel_size or 1
    if tensor * pipeline > box.gpu.count:
        name = "tensor_parallel_size" if tensor > 1 else "pipeline_parallel_size"
        product = f"tensor_parallel_size {tensor} x pipeline_parallel_size {pipeline} needs {tensor * pipeline} GPUs"
        reads = ("gpu", "vllm.tensor_parallel_size", "vllm.pipeline_parallel_size", "vllm.build")
        yield Problem(("vllm", name), f"{product}, but `gpu.count` is {box.gpu.count}", reads)


def _rented(box: BoxFile) -> Iterator[Problem]:
    if box.provider in ("attach", "local") and box.max_price is not None:
        yield Problem(("max_price",), f"`provider: {box.provider}` rents nothing that has a price", ("provider",))
    if box.provider == "autodl" and box.autodl is not None:
        gpu, spec = box.gpu, box.autodl.gpu_spec
        for path, message in autodl_cards.mistakes(gpu.name if gpu else None, gpu.count if gpu else 1, spec):
            yield Problem(path, message, ("provider", "gpu", "autodl.gpu_spec"))
    if box.provider == "compshare" and box.gpu is None:
        message = "`provider: compshare` has to know which card to rent, as in {name: RTX 4090, count: 1}"
        yield Problem(("provider",), message, ("gpu",))


def _count(box: BoxFile) -> Iterator[Problem]:
    if box.provider == "attach" and box.count > 1:
        message = "`provider: attach` is one box that was added by its login; write one box file for each"
        yield Problem(("count",), message, ("provider",))


def _provider_sections(box: BoxFile) -> Iterator[Problem]:
    for name in ("autodl", "compshare", "ec2"):
        if getattr(box, name) is not None and box.provider != name:
            message = f"this section is for `provider: {name}`, but the box file has `provider: {box.provider}`"
            yield Problem((name,), message, ("provider",))


def _ec2(box: BoxFile) -> Iterator[Problem]:
    ec2 = box.ec2
    if ec2 is None or box.provider != "ec2":
        return
    if box.gpu is None and ec2.instance_type is None:
        message = "`provider: ec2` needs `gpu`, as in `gpu: {name: A10G}`, or `ec2.instance_type`"
        yield Problem(("provider",), message, ("gpu", "ec2.instance_type"))
    if ec2.spot and ec2.on_shutdown == "stop":
        message = "a spot box cannot be stopped, it ends with its disk; remove `on_shutdown` or `spot`"
        yield Problem(("ec2", "on_shutdown"), message, ("ec2.spot",))
    if ec2.on_shutdown == "terminate" and not (box.guard and box.guard.before_stop):
        # Every rented box has a guard that shuts it down, its first one (24 h) without a line in the box file.
        message = "the guard would delete the disk: say in `guard.before_stop` what is saved before"
        yield Problem(("ec2", "on_shutdown"), message, ("guard.before_stop",))


def _box_ports(box: BoxFile) -> Iterator[Problem]:
    """Services listen on 127.0.0.1 of the box, so a port is one service's."""
    ui = box.web_ui_settings
    if ui and ui.on == "box" and ui.port == box.engine_port:
        message = f"port {ui.port} is the engine's already; give the web UI another `port`"
        yield Problem(("web_ui", "port"), message, ("engine", f"{box.engine}", "web_ui"))


def _laptop_ports(box: BoxFile) -> Iterator[Problem]:
    taken = {}
    if box.engine_port is not None:
        taken[box.engine_port] = f"the tunnel of {box.engine}"
    if ui := box.web_ui_settings:
        taken.setdefault(ui.port, "the web UI")
    for index, tunnel in enumerate(box.tunnels):
        port = tunnel.local or tunnel.remote
        name = "local" if tunnel.local else "remote"
        if port in taken:
            message = f"port {port} of this machine is for {taken[port]} already; give another `local`"
            yield Problem(("tunnels", index, name), message, ("engine", f"{box.engine}", "web_ui", "tunnels"))
        taken.setdefault(port, f"tunnels[{index}]")


def _python_env(box: BoxFile) -> Iterator[Problem]:
    env = box.python_env
    if env.no_index and not env.find_links:
        yield Problem(
            ("python_env", "no_index"), "needs `find_links`, where the wheels lie", ("python_env.find_links",)
        )
    for name in ("index_url", "extra_index_urls"):
        if env.no_index and getattr(env, name):
            yield Problem(("python_env", name), "has no meaning with `no_index: true`", ("python_env.no_index",))
    urls: list[tuple[Path, str]] = [(("python_env", "index_url"), env.index_url)] if env.index_url else []
    for name in ("extra_index_urls", "find_links"):
        urls += [(("python_env", name, index), url) for index, url in enumerate(getattr(env, name))]
    for path, url in urls:
        if "@" in (urlsplit(url).netloc if "://" in url else ""):
            yield Problem(path, "has a login in it; box files hold no secrets, put it into ~/.netrc of the box")


def _secrets(box: BoxFile) -> Iterator[Problem]:
    for engine in ENGINES:
        section = getattr(box, engine)
        for name in section.env if section else {}:
            if is_secret_name(name):
                yield Problem((engine, "env", name), "looks like a secret; box files hold none, use `api_key`")


def _own_options(box: BoxFile) -> Iterator[Problem]:
    for engine in ENGINES:
        for index, word in enumerate(getattr(getattr(box, engine), "extra_args", ())):
            option = word.split("=", 1)[0]
            if option in _OWN_OPTIONS:
                message = f"`{option}` is set by gpubox: {_OWN_OPTIONS[option]}"
                yield Problem((engine, "extra_args", index), message)


_CLASSIC_ONLY = (
    "optimize_config_path", "max_new_tokens", "backend_type", "use_numa", "use_balance_serve", "cpu_instruct",
    "max_jobs", "force_think",
)  # fmt: skip
_CURRENT_ONLY = (
    "kt_method", "kt_weight_path", "kt_convert_from", "kt_threadpool_count", "kt_num_gpu_experts",
    "kt_max_deferred_experts_per_token", "tensor_parallel_size", "mem_fraction_static",
)  # fmt: skip


def _ktransformers(box: BoxFile) -> Iterator[Problem]:
    kt = box.ktransformers
    if kt is None:
        return
    if kt.cache_lens and kt.max_new_tokens and kt.cache_lens <= kt.max_new_tokens * (kt.max_batch_size or 1):
        least = kt.max_new_tokens * (kt.max_batch_size or 1)
        message = f"given {kt.cache_lens}; must be above max_new_tokens x max_batch_size, {least}"
        yield Problem(("ktransformers", "cache_lens"), message, ("ktransformers",))
    other = "current" if kt.recipe == "classic" else "classic"
    for name in _CURRENT_ONLY if kt.recipe == "classic" else _CLASSIC_ONLY:
        if getattr(kt, name) is not None:
            message = f"is for `recipe: {other}`, and the box file has {kt.recipe}"
            yield Problem(("ktransformers", name), message, ("ktransformers.recipe",))
    yield from _ktransformers_model(box, kt)


def _ktransformers_model(box: BoxFile, kt: Ktransformers) -> Iterator[Problem]:
    """Which files the recipe reads: GGUF files come without config and tokenizer; SGLang reads the model's own."""
    model = box.model if isinstance(box.model, ModelSource) else None
    gguf = kt.recipe == "classic" or kt.kt_method == "LLAMAFILE" or (model is not None and model.quant is not None)
    if gguf and model is not None and model.source in ("modelscope", "huggingface") and kt.model_path is None:
        message = "needs `ktransformers.model_path`, where config and tokenizer are, as in deepseek-ai/DeepSeek-R1"
        yield Problem(("model",), message, ("ktransformers.model_path", "ktransformers.recipe"))
    if not gguf and kt.kt_method is None:
        message = "`recipe: current` needs `kt_method`, how the model's experts are stored, as in BF16 or FP8"
        yield Problem(("ktransformers",), message, ("ktransformers.kt_method", "model.quant"))
    if kt.kt_convert_from is not None and kt.kt_method not in ("AMXINT4", "AMXINT8"):
        message = "is for `kt_method: AMXINT4` or AMXINT8"
        yield Problem(("ktransformers", "kt_convert_from"), message, ("ktransformers.kt_method",))
    if kt.kt_method in ("AMXINT4", "AMXINT8") and not (kt.kt_convert_from or kt.kt_weight_path):
        message = f"`kt_method: {kt.kt_method}` needs `kt_convert_from` (bf16, fp16 or fp8), or `kt_weight_path`"
        yield Problem(("ktransformers", "kt_method"), message, ("ktransformers.kt_convert_from",))


# Where Ollama listens and keeps its models is the role's to say: behind the tunnel, on the data disk.
_OLLAMA_VARIABLES = {"OLLAMA_HOST": "use the field `port`", "OLLAMA_MODELS": "models lie below `data_dir`"}


def _ollama(box: BoxFile) -> Iterator[Problem]:
    ollama = box.ollama
    if ollama is None:
        return
    for name, instead in _OLLAMA_VARIABLES.items():
        if name in ollama.env:
            yield Problem(("ollama", "env", name), f"is set by gpubox: {instead}")
    for name in ("model_name", "template", "parameters"):
        if getattr(ollama, name) and box.model is None:
            yield Problem(("ollama", name), "is for a `model` of one's own, and there is none", ("model",))


def _lora(box: BoxFile) -> Iterator[Problem]:
    for name in ("max_loras", "max_lora_rank"):
        if box.vllm and getattr(box.vllm, name) and not box.vllm.lora_modules:
            message = "has no meaning without `lora_modules`"
            yield Problem(("vllm", name), message, ("vllm.lora_modules",))


def _guard(box: BoxFile) -> Iterator[Problem]:
    guard = box.guard
    if guard is None:
        return
    if not (guard.ttl or guard.idle or guard.budget):
        reads = ("guard.ttl", "guard.idle", "guard.budget")
        yield Problem(("guard",), "needs at least one of `ttl`, `idle` and `budget`", reads)
    if guard.budget and not guard.price_per_hour and box.provider in ("attach", "local"):
        message = f"needs `price_per_hour`: nobody says what a box of `provider: {box.provider}` costs"
        yield Problem(("guard", "budget"), message, ("provider", "guard.price_per_hour"))
    before = guard.before_stop
    if before and before.paths and not before.snapshot_to:
        message = "needs `snapshot_to`, where they are copied to"
        yield Problem(("guard", "before_stop", "paths"), message, ("guard.before_stop",))


def _keep(box: BoxFile) -> Iterator[Problem]:
    for index, glob in enumerate(box.keep):
        if glob.startswith(("/", "~")) or ".." in glob.split("/"):
            message = f'given "{glob}"; wanted a glob below <data_dir>/gpubox, as in results/**'
            yield Problem(("keep", index), message)


_RULES = (
    _engine_sections,
    _model,
    _gpus,
    _rented,
    _count,
    _provider_sections,
    _ec2,
    _box_ports,
    _laptop_ports,
    _python_env,
    _secrets,
    _own_options,
    _ktransformers,
    _ollama,
    _lora,
    _guard,
    _keep,
    web_ui_rules.web_ui,
    web_ui_rules.agents,
)
