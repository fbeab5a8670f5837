"""From the source archive to a wheel: unpack, tools beside the environment, and the environment of the compilers."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import make_env

from flash_build import indexes, machine
from flash_build.attempt import Outcome, attempt
from flash_build.compile import compile_all
from flash_build.ninja import Count
from flash_build.request import PACKAGE
from wheelhouse.check import Fingerprint, Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash_build.request import Request

_ROOT = Path("/")
# Of another toolkit: such libraries break torch itself, such headers the compiler.
_NOT_OURS = ("LD_LIBRARY_PATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "TORCH_CUDA_ARCH_LIST")


@dataclass(frozen=True)
class Built:
    """The wheel, and the directory that can go now that it is there. `peak`: bytes of the largest compiler."""

    wheel: Path
    place: Path
    peak: int


def build(request: Request, now: Fingerprint, progress: make_env.Progress) -> Built:
    """Compile a wheel for what is in the environment. What an earlier try has compiled stays. Raises `Trouble`."""
    cuda = request.cuda or now.cuda
    toolkit = request.root / "cuda" / cuda
    if not (toolkit / "bin/nvcc").exists():
        raise Trouble(f"there is no compiler of CUDA {cuda} in `{toolkit}`: run the role `cuda_toolkit` first")
    place = place_of(request, now)
    source = _unpacked(request, place, progress)
    tools = _tools(request, place, progress)
    environment = compilers_environment(request, toolkit, tools, os.environ)
    count = Count(source)
    argv = [str(request.environment / "bin/python"), "setup.py", "bdist_wheel", "--dist-dir", str(place / "dist")]
    wanted = machine.jobs(machine.read(_ROOT), threads=request.nvcc_threads, at_most=request.max_jobs)

    def run(jobs: int) -> Outcome:
        print_line(f"building with up to {jobs} compilers of {request.nvcc_threads} threads, sm {request.archs}")
        return attempt(argv, source=source, environment=environment, jobs=jobs, count=count, progress=progress)

    outcome = compile_all(run, wanted, lambda: machine.read(_ROOT))
    wheels = sorted((place / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        raise Trouble(f"the build of FlashAttention ended well and left no wheel in `{place / 'dist'}`")
    return Built(wheels[-1], place, outcome.peak)


def place_of(request: Request, now: Fingerprint) -> Path:
    """Where a build lies: another torch, compiler or architecture shares nothing with it."""
    words = repr((request.version, now, request.cuda, request.archs, request.nvcc_threads))
    return request.root / "builds" / PACKAGE / hashlib.sha256(words.encode()).hexdigest()[:16]


def compilers_environment(request: Request, toolkit: Path, tools: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of `setup.py`: our compiler, our tools, the libraries' headers of torch's own packages."""
    home = toolkit.resolve()
    kept = {name: value for name, value in environ.items() if name not in _NOT_OURS}
    site = request.environment.glob("lib/python3.*/site-packages/nvidia/*/include")
    ours = [str(place / "bin") for place in (home, tools, request.environment)]
    return {
        **kept,
        "CUDA_HOME": str(home),
        "PATH": ":".join([*ours, environ.get("PATH", "/usr/bin:/bin")]),
        "PYTHONPATH": str(tools),
        "CPATH": ":".join(sorted(str(path) for path in site)),
        "NVCC_THREADS": str(request.nvcc_threads),
        "FLASH_ATTN_CUDA_ARCHS": request.archs,
        # Else setup.py first looks for a published wheel by itself, and takes one without a word.
        "FLASH_ATTENTION_FORCE_BUILD": "TRUE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def print_line(text: str) -> None:
    """For the job's log, at once."""
    os.write(1, f"{text}\n".encode())


def settings_of(request: Request) -> tuple[make_env.Request, dict[str, list[str]]]:
    """Where packages come from, as the role `python_env` decides it."""
    wish = make_env.Request(
        name=request.env_name,
        root=request.root,
        key="",
        requirements=[],
        **request.index,  # type: ignore[arg-type]
    )
    return wish, make_env.index_settings(wish, make_env.pip_configuration(os.environ), os.environ)


def uv_install(request: Request, words: list[str], progress: make_env.Progress) -> None:
    """`uv pip install` with the box's own settings. Raises `Trouble`."""
    wish, settings = settings_of(request)
    argv = [str(request.root / "controller/bin/uv"), "pip", "install", *make_env.uv_arguments(settings), *words]
    code, said = make_env.run(argv, make_env.uv_environment(wish, settings, os.environ), progress)
    if code:
        raise Trouble(make_env.explain(said, settings).removeprefix("error: "))


def _unpacked(request: Request, place: Path, progress: make_env.Progress) -> Path:
    """The source below `place`; what was unpacked and partly compiled before is taken as it is."""
    source = place / "source"
    if source.is_dir():
        return source
    archive = request.root / "cache" / "sources" / f"{PACKAGE}-{request.version}.tar.gz"
    wish, settings = settings_of(request)
    certificates = make_env.uv_environment(wish, settings, os.environ).get("SSL_CERT_FILE")
    if certificates:
        os.environ["SSL_CERT_FILE"] = certificates

    def tell(have: int, total: int) -> None:
        progress.tell(f"fetching the source of FlashAttention {request.version}", done=have, total=total, unit="B")

    where = indexes.places(settings, os.environ, PACKAGE.replace("_", "-"))
    indexes.fetch(archive.name, request.sha256, where, archive, tell)
    partial = place / "source.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # Not `tarfile`: before 3.11.4 (Debian 12 has 3.11.2) it follows names that lead out of the directory.
    tar = ["tar", "--extract", "--no-same-owner", "--file", str(archive), "--directory", str(partial)]
    done = subprocess.run(tar, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"`{archive}` cannot be unpacked: {done.stderr.strip()[-200:]}")
    (only,) = partial.iterdir()
    only.rename(source)
    partial.rmdir()
    return source


def _tools(request: Request, place: Path, progress: make_env.Progress) -> Path:
    """setuptools, wheel, ninja and the rest in a directory of their own: the environment stays as it was pinned."""
    tools = place / "tools"
    if not tools.is_dir():
        partial = place / "tools.partial"
        shutil.rmtree(partial, ignore_errors=True)
        python = str(request.environment / "bin/python")
        uv_install(request, ["--python", python, "--target", str(partial), *request.tools], progress)
        partial.rename(tools)
    return tools


def run_python(request: Request, code: str) -> subprocess.CompletedProcess[str]:
    """A few lines in the environment, without another toolkit's libraries."""
    environment = {name: value for name, value in os.environ.items() if name not in {*_NOT_OURS, "PYTHONPATH"}}
    argv = [str(request.environment / "bin/python"), "-c", code]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
