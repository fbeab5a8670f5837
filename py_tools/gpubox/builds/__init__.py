"""Which Python, torch, CUDA, engine and wheels fit a box: decided from its facts, by tables that name sources."""

from __future__ import annotations

from gpubox.builds.plan import Environment, FlashAttention, Nvcc, Plan, Refusal, Row, Step, Warned
from gpubox.builds.pythons import CONTROLLER_PYTHON, CONTROLLER_PYTHON_LAST, controller_python
from gpubox.builds.resolve import resolve, vllm_build
from gpubox.builds.variables import variables

__all__ = [
    "CONTROLLER_PYTHON",
    "CONTROLLER_PYTHON_LAST",
    "Environment",
    "FlashAttention",
    "Nvcc",
    "Plan",
    "Refusal",
    "Row",
    "Step",
    "Warned",
    "controller_python",
    "resolve",
    "variables",
    "vllm_build",
]
