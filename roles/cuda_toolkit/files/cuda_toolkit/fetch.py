"""Bringing a toolkit's files: wheels by uv, packages by conda. Both into a directory of their own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import make_env

from cuda_toolkit.choose import Trouble

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What is wanted; `index` are the settings of the role `python_env`, `conda_packages` may hold match specs."""

    root: Path
    version: str
    key: str
    source: str
    archs: list[str]
    wheels: list[str]
    conda_channel: str
    conda_packages: list[str]
    index: dict[str, object] = field(default_factory=dict)

    @property
    def build(self) -> Path:
        """Where it really lies."""
        return self.root / "cuda" / ".builds" / self.key[:16]

    @property
    def home(self) -> Path:
        """The path by which everything else knows it: the CUDA_HOME."""
        return self.root / "cuda" / self.version


def wheels(request: Request, progress: make_env.Progress) -> Path:
    """Unpack the wheels; the directory that is nearly a CUDA_HOME. Raises `Trouble`."""
    wish = make_env.Request(
        name=f"cuda-{request.version}", root=request.root, key=request.key, requirements=request.wheels,
        **request.index,  # type: ignore[arg-type]
    )  # fmt: skip
    settings = make_env.index_settings(wish, make_env.pip_configuration(os.environ), os.environ)
    site = request.build / "site"
    argv = [str(request.root / "controller/bin/uv"), "pip", "install", "--no-deps", "--target", str(site)]
    argv += ["--python", str(request.root / "controller/bin/python"), *make_env.uv_arguments(settings), *request.wheels]
    progress.tell(f"fetching CUDA {request.version} as wheels")
    code, said = make_env.run(argv, make_env.uv_environment(wish, settings, os.environ), progress)
    if code:
        raise Trouble(make_env.explain(said, settings).removeprefix("error: "))
    return site / "nvidia" / f"cu{request.version.split('.')[0]}"


def conda(request: Request, program: str, progress: make_env.Progress) -> Path:
    """Make a conda environment with the compiler; its directory. Raises `Trouble`."""
    prefix = request.build / "conda"
    argv = conda_command(program, prefix, request.conda_channel, request.conda_packages)
    progress.tell(f"fetching CUDA {request.version} from the conda channel {request.conda_channel}")
    settings = {**os.environ, "CONDA_PKGS_DIRS": str(request.root / "cache/conda"), "CONDA_ALWAYS_YES": "true"}
    code, said = make_env.run(argv, settings, progress)
    if code:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise Trouble(
            f"`{' '.join(argv)}` failed: {lines[-1] if lines else 'it said nothing'}. Set `cuda_toolkit_conda_channel` "
            "to a mirror that the box reaches, or rent it with an image that has this CUDA"
        )
    return prefix


def conda_command(program: str, prefix: Path, channel: str, packages: list[str]) -> list[str]:
    """How conda is asked. Only this channel: a mixture with others resolves to another CUDA than the wanted one."""
    return [program, "create", "--yes", "--prefix", str(prefix), "--override-channels", "--channel", channel, *packages]


def clear(request: Request) -> None:
    """Remove half-made and older builds, but never the one in use."""
    in_use = request.home.resolve() if request.home.is_symlink() else None
    for build in (request.root / "cuda" / ".builds").glob("*"):
        if build.name == request.key[:16] or (in_use is not None and not in_use.is_relative_to(build)):
            shutil.rmtree(build)
