"""The box file's sections for engines; every field is called as the engine itself calls it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gpubox.boxfile.kinds import (  # noqa: TC001 -- pydantic evaluates annotations
    AdapterPath,
    BoxPath,
    ConstantName,
    Port,
    Positive,
    SecretName,
    Text,
    Url,
    VariableName,
    Version,
    Word,
)
from gpubox.boxfile.section import Section


class Vllm(Section):
    """How `engine: vllm` is installed and started. A field that is left out keeps vLLM's own default."""

    build: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Which build to install. auto: cuda where the box has a GPU and a driver, else cpu."
    )
    version: Version | None = Field(
        default=None, description="vLLM's version; left out: the one that the role `vllm` pins."
    )
    port: Port = Field(default=8000, description="Port on 127.0.0.1 of the box.")
    served_model_name: Text | None = Field(default=None, description="Name under which clients ask for the model.")
    max_model_len: Positive | None = Field(default=None, description="Longest prompt plus answer, in tokens.")
    tensor_parallel_size: Positive | None = Field(default=None, description="GPUs that share every layer.")
    pipeline_parallel_size: Positive | None = Field(
        default=None, description="Groups of GPUs that take turns by layers; for cards without NVLink."
    )
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Share of each GPU's memory that vLLM takes, 0 to 1."
    )
    quantization: Text | None = Field(
        default=None, description="Quantization method, as in awq_marlin or fp8; left out: what the model's files say."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = Field(
        default=None, description="Data type of weights and activations; left out: what the model's files say."
    )
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = Field(
        default=None, description="Data type of the KV cache; fp8 holds twice the tokens of bfloat16."
    )
    enforce_eager: bool | None = Field(
        default=None, description="true: no compilation and no CUDA graphs. Starts sooner, answers slower."
    )
    attention_backend: ConstantName | None = Field(
        default=None, description="Attention kernels, as in FLASH_ATTN or FLASHINFER; left out: vLLM chooses."
    )
    max_num_batched_tokens: Positive | None = Field(
        default=None, description="Tokens that are computed in one step, at most; more answers sooner, needs memory."
    )
    cpu_offload_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Part of the weights, in GiB per GPU, that stays in the box's memory. Slow."
    )
    enable_expert_parallel: bool | None = Field(
        default=None, description="true: the experts of a MoE model are spread over the GPUs, and not each one cut."
    )
    performance_mode: Literal["balanced", "interactivity", "throughput"] | None = Field(
        default=None, description="What vLLM optimises for; vLLM 0.17 or newer."
    )
    optimization_level: Annotated[int, Field(ge=0, le=3)] | None = Field(
        default=None, description="How much is compiled; 0 starts soonest, 2 is vLLM's default; vLLM 0.12 or newer."
    )
    reasoning_parser: Text | None = Field(
        default=None, description="Tells the reasoning from the answer, as in deepseek_r1 or qwen3."
    )
    tool_call_parser: Text | None = Field(
        default=None, description="Lets the model call tools, in the form that this parser reads, as in hermes."
    )
    lora_modules: dict[Word, AdapterPath] = Field(
        default={},
        description="LoRA adapters: the name under which clients ask for one, and its directory on the box, absolute or"
        " below <data_dir>/gpubox.",
        examples=[{"xiaoluo": "results/xiaoluo/checkpoint-100"}],
    )
    max_loras: Positive | None = Field(default=None, description="Adapters in one batch, at most; left out: 1.")
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = Field(
        default=None, description="Highest rank of the adapters; left out: 16."
    )
    disable_custom_all_reduce: bool | None = Field(
        default=None,
        description="true: several GPUs sum up by NCCL alone; left out: true for cards that are known to have no"
        " peer-to-peer (GeForce RTX 40 and 50).",
    )
    nccl_p2p_disable: bool | None = Field(
        default=None,
        description="true: NCCL_P2P_DISABLE=1, for cards without peer-to-peer; left out: as disable_custom_all_reduce.",
    )
    cpu_kvcache_space: Positive | None = Field(
        default=None, description="Memory for the KV cache of the CPU build, in GiB. Has no meaning for cuda."
    )
    max_num_seqs: Positive | None = Field(
        default=None, description="Requests that are computed at the same time, at most."
    )
    api_key: SecretName | None = Field(
        default=None,
        description="Name of the environment variable of this machine that holds the key clients must show.",
    )
    extra_args: tuple[Word, ...] = Field(
        default=(), description="Further options of `vllm serve`, one list item per word."
    )
    env: dict[VariableName, Word] = Field(default={}, description="Environment variables of the server. No secrets.")


KtMethod = Literal[
    "LLAMAFILE", "AMXINT4", "AMXINT8", "RAWINT4", "GPTQ_INT4", "BF16", "FP8", "FP8_PERCHANNEL", "MXFP4", "MXFP8"
]


class Ktransformers(Section):
    """How `engine: ktransformers` is built and started. A field that is left out keeps the recipe's default."""

    recipe: Literal["classic", "current"] = Field(
        default="classic",
        description="classic: KTransformers up to 0.3.2 with GGUF experts. current: kt-kernel together with SGLang.",
    )
    version: Version | None = Field(default=None, description="Version or tag; left out: the one that the recipe pins.")
    port: Port = Field(default=10002, description="Port on 127.0.0.1 of the box.")
    model_path: Text | None = Field(
        default=None,
        description="Where config and tokenizer come from: owner/name on the model's hub, or a path on the box.",
    )
    model_name: Text | None = Field(default=None, description="Name under which clients ask for the model.")
    optimize_config_path: Text | None = Field(
        default=None, description="Rules file that says what runs on which device; left out: the model's default."
    )
    cpu_infer: Positive | None = Field(
        default=None, description="CPU threads that compute experts; about the physical cores that the box may use."
    )
    cache_lens: Positive | None = Field(default=None, description="Size of the KV cache, in tokens.")
    max_new_tokens: Positive | None = Field(default=None, description="Longest answer, in tokens.")
    max_batch_size: Positive | None = Field(
        default=None, description="Requests that are computed at the same time, at most (backend_type balance_serve)."
    )
    chunk_size: Positive | None = Field(default=None, description="Tokens of a prompt that are computed in one go.")
    backend_type: Literal["ktransformers", "balance_serve"] | None = Field(
        default=None, description="balance_serve serves several requests at once; ktransformers one after the other."
    )
    use_cuda_graph: bool | None = Field(default=None, description="false: no CUDA graphs.")
    use_numa: bool | None = Field(
        default=None, description="true: a copy of the experts for each CPU socket, which doubles the memory needed."
    )
    use_balance_serve: bool | None = Field(
        default=None, description="true: build the back end for several requests, also where it is not used at once."
    )
    cpu_instruct: Literal["NATIVE", "FANCY", "AVX512", "AVX2"] | None = Field(
        default=None, description="CPU instructions to build for; left out: those of the CPU that it is built on."
    )
    max_jobs: Positive | None = Field(
        default=None, description="Compilers at the same time, at most; left out: what CPUs and memory allow."
    )
    git_url: Url | None = Field(
        default=None, description="Where the sources come from; their commit is pinned. Left out: GitHub."
    )
    git_mirror: Url | None = Field(
        default=None, description="What takes the place of https://github.com/, for the submodules too."
    )
    force_think: bool | None = Field(
        default=None, description="true: every answer begins with <think>, for DeepSeek-R1."
    )
    kt_method: KtMethod | None = Field(
        default=None,
        description="How experts are computed, for `recipe: current`; left out: LLAMAFILE where `model.quant` is set.",
    )
    kt_weight_path: BoxPath | None = Field(
        default=None, description="Directory of experts that are converted already, for `recipe: current`."
    )
    kt_convert_from: Literal["bf16", "fp16", "fp8"] | None = Field(
        default=None, description="Convert the model's experts for AMXINT4 or AMXINT8; what they are on the hub."
    )
    kt_threadpool_count: Positive | None = Field(
        default=None, description="Thread pools, for `recipe: current`; left out: one for each NUMA node of the box."
    )
    kt_num_gpu_experts: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Experts of each layer that are kept on the GPU, for `recipe: current`."
    )
    kt_max_deferred_experts_per_token: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Experts per token that may come one layer later, for `recipe: current`."
    )
    tensor_parallel_size: Positive | None = Field(
        default=None, description="GPUs that share every layer, for `recipe: current`."
    )
    mem_fraction_static: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Share of the GPU's memory for weights and KV cache, for `recipe: current`."
    )
    api_key: SecretName | None = Field(
        default=None,
        description="Name of the environment variable of this machine that holds the key clients must show.",
    )
    extra_args: tuple[Word, ...] = Field(
        default=(), description="Further options of the server, one list item per word."
    )
    env: dict[VariableName, Word] = Field(default={}, description="Environment variables of the server. No secrets.")


class Ollama(Section):
    """How `engine: ollama` is started, and what it serves."""

    models: tuple[Text, ...] = Field(
        default=(),
        description="Models to pull, with their tags, as in deepseek-r1:8b, or modelscope.cn/Qwen/Qwen3-8B-GGUF:Q4_K_M"
        " from another hub; a GGUF of one's own is `model`.",
        examples=[["deepseek-r1:8b"]],
    )
    version: Version | None = Field(
        default=None, description="Ollama's version; left out: the one that the role `ollama` pins."
    )
    download_url: Url | None = Field(
        default=None,
        description="Mirror of Ollama's releases; left out: GitHub. The SHA-256 tells if it is a true one.",
    )
    port: Port = Field(default=11434, description="Port on 127.0.0.1 of the box.")
    model_name: Text | None = Field(
        default=None, description="Name under which clients ask for `model`; left out: made from its file or directory."
    )
    template: Text | None = Field(
        default=None, description="Prompt template of `model`, in Ollama's language; left out: what the file says."
    )
    parameters: dict[VariableName, bool | int | float | str | tuple[str, ...]] = Field(
        default={}, description="Parameters of `model`, as Ollama's Modelfile names them.", examples=[{"num_ctx": 8192}]
    )
    env: dict[VariableName, Word] = Field(
        default={},
        description="Environment variables of the server, as in OLLAMA_KEEP_ALIVE: 30m. No secrets.",
        examples=[{"OLLAMA_CONTEXT_LENGTH": 8192}],
    )


class FlashAttn(Section):
    """FlashAttention in the environment of the engine: a wheel where one fits, else built on the box."""

    version: Version | None = Field(
        default=None, description="Version; left out: the one that the role `flash_attn` pins."
    )
    build: Literal["auto", "wheel", "source"] = Field(
        default="auto", description="wheel: refuse to compile. source: compile even where a wheel fits."
    )
    max_jobs: Positive | None = Field(
        default=None, description="Compilers at the same time, at most; left out: what CPUs and memory allow."
    )
