"""Can this box become what its box file says? A pure decision from facts to findings."""

from __future__ import annotations

from gpubox.preflight.case import data_dir, root, vllm_build, wanted_ports
from gpubox.preflight.findings import Finding, Findings, Level
from gpubox.preflight.plan import plan
from gpubox.preflight.system import controller_python

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
