"""Run in an environment with kt-kernel's wheel: a small mixture of experts by its CPU kernel and by NumPy.

`python kt_moe.py VARIANT THREADS` prints the relative error and the seconds of a step as JSON; no torch, no GPU.
"""

from __future__ import annotations

import importlib.util
import json
import site
import sys
import time
from pathlib import Path

import numpy as np

EXPERTS, ACTIVE, HIDDEN, MIDDLE, TOKENS = 8, 2, 512, 256, 5


def main() -> None:
    """Compare one forward pass, then time twenty."""
    variant, threads = sys.argv[1], int(sys.argv[2])
    (library,) = Path(site.getsitepackages()[0], "kt_kernel").glob(f"_kt_kernel_ext_{variant}.*.so")
    spec = importlib.util.spec_from_file_location("kt_kernel_ext", library)
    assert spec is not None
    assert spec.loader is not None
    kernel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernel)
    random = np.random.default_rng(0)
    shapes = {"gate": (EXPERTS, MIDDLE, HIDDEN), "up": (EXPERTS, MIDDLE, HIDDEN), "down": (EXPERTS, HIDDEN, MIDDLE)}
    weights = {name: random.standard_normal(shape, dtype=np.float32) / 16 for name, shape in shapes.items()}
    pool = kernel.CPUInfer(threads)
    config = kernel.moe.MOEConfig(EXPERTS, ACTIVE, HIDDEN, MIDDLE, 0)
    config.pool, config.max_len, config.m_block = pool.backend_, 256, 32
    config.group_min_len, config.group_max_len = 10, 256
    config.hidden_type = kernel.kvcache.ggml_type.FP32
    for name, array in weights.items():
        setattr(config, f"{name}_proj", array.ctypes.data)
        setattr(config, f"{name}_type", kernel.kvcache.ggml_type.FP32)
    layer = kernel.moe.MOE(config)
    pool.submit(layer.load_weights_task())
    pool.sync()
    chosen = np.stack([random.permutation(EXPERTS)[:ACTIVE] for _ in range(TOKENS)]).astype(np.int64)
    shares = random.random((TOKENS, ACTIVE), dtype=np.float32)
    given = random.standard_normal((TOKENS, HIDDEN), dtype=np.float32) / 10
    got, count = np.zeros_like(given), np.array([TOKENS], dtype=np.int32)
    pointers = [array.ctypes.data for array in (chosen, shares, given, got)]

    def step() -> None:
        pool.submit(layer.forward_task(count.ctypes.data, ACTIVE, *pointers, False))
        pool.sync()

    step()
    expected = np.zeros_like(given)
    for token in range(TOKENS):
        for expert, share in zip(chosen[token], shares[token], strict=True):
            gate, up = weights["gate"][expert] @ given[token], weights["up"][expert] @ given[token]
            expected[token] += share * (weights["down"][expert] @ (gate / (1 + np.exp(-gate)) * up))
    begun = time.perf_counter()
    for _ in range(20):
        step()
    seconds = (time.perf_counter() - begun) / 20
    error = float(np.abs(got - expected).mean() / np.abs(expected).mean())
    sys.stdout.write("\n" + json.dumps({"error": error, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
