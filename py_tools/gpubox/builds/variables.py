"""From a plan to the variables of roles. What the box file says itself is laid over these."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubox.builds.plan import FlashAttention, Plan


def variables(plan: Plan) -> dict[str, object]:
    """Role variables that follow from `plan`; none while it is open or refused: then roles' own versions hold.

    Nothing in them changes from one reading of the facts to the next: they are part of what a converge is known by.
    """
    if not plan.decided or plan.refusals:
        return {}
    found: dict[str, object] = {}
    if plan.choices.get("vllm_pin") == "cuda12":
        found["vllm_cuda"] = 12
    if plan.engine == "ktransformers" and plan.environments:
        environment = plan.environments[0]
        found |= {
            "ktransformers_recipe": plan.choices["recipe"],
            "ktransformers_version": plan.choices["version"],
            "ktransformers_python": environment.python,
        }
        # Today's wheels bring their own torch.
        if plan.choices["recipe"] == "classic":
            found |= {
                "ktransformers_torch": environment.torch,
                "ktransformers_torch_index_url": environment.index_url or "",
                "ktransformers_cuda": environment.cuda,
            }
    if plan.flash_attn is not None:
        found |= _flash_attn(plan, plan.flash_attn)
    if plan.nvcc is not None:
        found |= {"cuda_toolkit_version": plan.nvcc.version, "cuda_toolkit_source": plan.nvcc.how}
    return found


def _flash_attn(plan: Plan, flash: FlashAttention) -> dict[str, object]:
    environment = next(item for item in plan.environments if item.name == flash.environment)
    return {
        "flash_attn_env_name": flash.environment,
        "flash_attn_version": flash.version,
        "flash_attn_wheel": flash.wheel,
        "flash_attn_wheel_base_url": flash.base_url,
        "flash_attn_torch": environment.torch,
        "flash_attn_cuda": environment.cuda,
        "flash_attn_archs": ";".join(flash.archs),
        "flash_attn_nvcc_threads": flash.nvcc_threads,
    }
