"""Can this box become what its box file says? A pure decision from facts to findings."""

from __future__ import annotations

from gpubox.builds import controller_python, vllm_build
from gpubox.preflight.case import data_dir, root, wanted_ports
from gpubox.preflight.findings import Finding, Findings, Level
from gpubox.preflight.plan import plan

__all__ = [
    "Finding",
    "Findings",
    "Level",
    "controller_python",
    "data_dir",
    "plan",
    "root",
    "vllm_build",
    "wanted_ports",
]
