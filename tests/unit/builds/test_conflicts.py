"""Every pair that is known not to go together is known to the resolver, by the pair alone."""

from __future__ import annotations

from typing import Any

import pytest

from gpubox.builds.conflicts import RULES, Combination, clashes

PAIRS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "nvcc major": ({"nvcc": "13.0", "cuda": "12.8", "compiles": True}, "nvcc-major", "error", "RuntimeError"),
    "nvcc minor": ({"nvcc": "12.1", "cuda": "12.4", "compiles": True}, "nvcc-minor", "warning", "labelled cu121"),
    "nvcc newer": ({"nvcc": "12.8", "cuda": "12.4", "compiles": True}, "nvcc-minor", "warning", "older driver"),
    "nvcc too new for old KTransformers": (
        {"packages": {"ktransformers": "0.2.3post2"}, "nvcc": "12.8"}, "nvcc-too-new", "error", "does not compile",
    ),
    "PTX of the newest sources on an old nvcc": (
        {"nvcc": "12.4", "cuda": "12.4", "compiles": True, "archs": ("80", "120")}, "nvcc-archs", "error", "PTX",
    ),
    "gcc newer than nvcc takes": (
        {"nvcc": "12.4", "cuda": "12.4", "compiles": True, "gcc": "14.2.0"}, "gcc", "error", "gcc up to 13",
    ),
    "gcc too old for KTransformers": (
        {"packages": {"ktransformers": "0.3.2"}, "compiles": True, "gcc": "9.4.0"}, "compilers", "error", "gcc 11",
    ),
    "cmake of Ubuntu 22.04": (
        {"packages": {"ktransformers": "0.3.2"}, "compiles": True, "cmake": "3.22.1"}, "cmake", "warning", "CUDA20",
    ),
    "CUDA 13 wheels on a 550 driver": ({"cuda": "13.0", "driver": (550, 54)}, "driver", "error", "needs driver 580"),
    "CUDA 12 on a 470 driver": ({"cuda": "12.8", "driver": (470, 223)}, "driver", "error", "needs driver 525"),
    "kt wheels on glibc 2.31": ({"glibc": (2, 31), "needs_glibc": (2, 35)}, "libc", "error", "need 2.35"),
    "conda's libstdc++": (
        {"libstdcxx": (3, 4, 29), "needs_glibcxx": (3, 4, 32)}, "glibcxx", "error", "GLIBCXX_3.4.32",
    ),
    "torch of cu126, extension of cu124": ({"abi": True, "built_abi": False}, "abi", "error", "undefined symbol"),
    "kt-kernel and cp310": ({"packages": {"kt-kernel": "0.7.2"}, "python": "3.10"}, "python", "error", "3.11 and 3.12"),
    "kt-kernel and cp313": ({"packages": {"kt-kernel": "0.7.2"}, "python": "3.13"}, "python", "error", "not for 3.13"),
    "an old vLLM and any transformers": ({"packages": {"vllm": "0.9.2"}}, "transformers", "error", "the newest"),
    "an old vLLM and transformers 5": (
        {"packages": {"vllm": "0.10.2", "transformers": "5.23.0"}}, "transformers", "error", "5.23.0",
    ),
    "LD_LIBRARY_PATH": (
        {"cuda": "12.4", "library_path": "/opt/x:/usr/local/cuda-12.1/lib64"}, "library-path", "warning", "nvJitLink",
    ),
    "two transformers": (
        {"packages": {"transformers": "5.15", "transformers-kt": "5.6"}}, "same-directory", "error", "`transformers/",
    ),
    "two sglang": ({"packages": {"sglang": "0.5", "sglang-kt": "0.7.2"}}, "same-directory", "error", "`sglang/`"),
    "two sgl_kernel": ({"packages": {"sgl-kernel": "1", "kt-kernel": "1"}}, "same-directory", "error", "`sgl_kernel/`"),
    "two accelerate": ({"packages": {"accelerate": "1", "accelerate-kt": "1"}}, "same-directory", "error", "`accel"),
    "ktransformers and vllm": ({"packages": {"ktransformers": "0.7.2", "vllm": "0.30"}}, "together", "error", "torch"),
    "ktransformers and ms-swift": (
        {"packages": {"ktransformers": "0.7.2", "ms-swift": "4.6.0"}}, "together", "error", "overwrite",
    ),
    "ktransformers and open-webui": (
        {"packages": {"ktransformers": "0.7.2", "open-webui": "0.6"}}, "together", "error", "overwrite",
    ),
}  # fmt: skip

WELL: dict[str, dict[str, Any]] = {
    "the same nvcc": {"nvcc": "12.4", "cuda": "12.4", "compiles": True, "gcc": "13.2.0", "archs": ("80",)},
    "another nvcc where nothing is compiled": {"nvcc": "12.1", "cuda": "13.0"},
    "CUDA 12.8 on driver 525": {"cuda": "12.8", "driver": (525, 147)},
    "newer KTransformers and nvcc 12.8": {"packages": {"ktransformers": "0.3.2"}, "nvcc": "12.8"},
    "kt wheels on glibc 2.35": {"glibc": (2, 35), "needs_glibc": (2, 35)},
    "an old vLLM with its cap": {"packages": {"vllm": "0.9.2", "transformers": "4.57.6"}},
    "a newer toolkit in LD_LIBRARY_PATH": {"cuda": "12.4", "library_path": "/usr/local/cuda-12.8/lib64"},
    "the kt family": {
        "packages": dict.fromkeys(("kt-kernel", "sglang-kt", "transformers-kt"), "0.7.2"),
        "python": "3.12",
    },
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_do_not_go_together(name: str) -> None:
    fields, rule, level, says = PAIRS[name]
    found = clashes(Combination(**fields))
    assert [(clash.rule, clash.level) for clash in found] == [(rule, level)]
    assert says in found[0].message
    assert found[0].fix


@pytest.mark.parametrize("name", WELL)
def test_neighbours_that_do(name: str) -> None:
    assert clashes(Combination(**WELL[name])) == []


def test_every_rule_has_a_pair() -> None:
    assert clashes(Combination()) == []
    fired = {rule for rule in RULES for fields, *_ in PAIRS.values() if list(rule(Combination(**fields)))}
    assert fired == set(RULES)
