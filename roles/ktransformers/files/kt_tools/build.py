"""What `install.sh` of KTransformers does, with limits, checks and progress, and without deleting `~/.ktransformers`.

Its requirements come with the environment, in pinned versions. The rest is here: clear what was built with other
options, build and install KTransformers, then custom_flashinfer; or install what was built before for just this.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import fingerprint, kept, machine, source, toolchain
from .errors import Trouble
from .output import Output
from .output import run as run_command

if TYPE_CHECKING:
    from .progress import Progress

_MAIN = "ktransformers"
_OPTIONS = ".gpubox-build.json"
# What install.sh clears. A build directory of other options would keep them: cmake's cache is stronger than a variable.
_BUILD_DIRS = ("build", "dist", "*.egg-info", "csrc/*/build", "csrc/*/*/build", "ktransformers/ktransformers_ext/build")
# Any value of USE_NUMA turns NUMA on, `0` too; a value left over from somebody's shell must not come in.
_NEVER_INHERITED = ("USE_NUMA", "USE_BALANCE_SERVE", "LD_LIBRARY_PATH", "CMAKE_ARGS", "CPU_INSTRUCT", "DEV_BACKEND")
# A build for the CPU that it is built on uses all of these that there are; the others use a fixed set.
_INSTRUCTIONS = {
    "AVX2": ("avx", "avx2", "f16c", "fma"),
    "AVX512": ("avx", "avx2", "avx512f", "f16c", "fma"),
    "FANCY": ("avx", "avx2", "avx512bw", "avx512dq", "avx512f", "avx512vl", "avx512_vnni", "f16c", "fma"),
}


@dataclass(frozen=True)
class Wish:
    """What is to be built, from where, into which environment. `after`: jobs to wait for, in this order; `source_job`:
    the one that only a build needs."""

    root: Path
    env: Path
    sources: source.Wish
    reports: str
    extensions: list[str]
    cuda_home: str
    cuda_archs: str
    cpu_instruct: str = "NATIVE"
    numa: bool = False
    balance_serve: bool = False
    custom_flashinfer: bool = True
    max_jobs: int | None = None
    after: list[str] = field(default_factory=list)
    source_job: str = ""
    timeout: int = 14400

    @classmethod
    def read(cls, text: str) -> Wish:
        """The wish from its JSON text."""
        values = json.loads(text)
        values["sources"] = source.Wish.read(json.dumps(values["sources"]))
        return cls(**{**values, "root": Path(values["root"]), "env": Path(values["env"])})

    @property
    def version(self) -> str:
        """The tag without its letter."""
        return self.sources.tag.removeprefix("v")

    @property
    def packages(self) -> dict[str, Path]:
        """Names as the wheelhouse has them, and where their sources lie."""
        flash = self.sources.path / "third_party" / "custom_flashinfer"
        return {_MAIN: self.sources.path, **({"custom_flashinfer": flash} if self.custom_flashinfer else {})}


def run(wish: Wish, progress: Progress) -> None:
    """Build KTransformers into the environment. Raises `Trouble`."""
    for job in wish.after:
        _wait(wish, job, progress)
    environment = variables(wish, dict(os.environ), machine.read())
    torch, flags = fingerprint.of_environment(wish.env), machine.read().flags
    if not _installed(wish, environment, flags, progress):
        _wait_for_sources(wish, progress)
        toolchain.look(environment, torch["cuda"], numa=wish.numa)
        _clear_others(wish)
        wheels = {name: _build(wish, place, name, environment, progress) for name, place in wish.packages.items()}
        progress.tell("loading what was built")
        _try(wish, environment)
        kept.keep(wish, wheels, flags)
    built = {"commit": wish.sources.commit, "tag": wish.sources.tag, "numa": wish.numa, **torch}
    built |= {"balance_serve": wish.balance_serve, "cpu_flags": _cpu_flags(wish.cpu_instruct, flags)}
    fingerprint.write(wish.env, built)
    progress.tell(f"KTransformers {wish.sources.tag} is built", done=1, total=1, unit="build")


def variables(wish: Wish, inherited: dict[str, str], box: machine.Machine) -> dict[str, str]:
    """The environment of the build. What is not asked for is not there, whatever the login's shell has set."""
    jobs = min(wish.max_jobs or 1 << 20, machine.compilers(box.cpus, box.available))
    found = {name: value for name, value in inherited.items() if name not in _NEVER_INHERITED}
    path = [str(wish.env / "bin"), f"{wish.cuda_home}/bin", found.get("PATH", "/usr/local/bin:/usr/bin:/bin")]
    found |= {
        "PATH": ":".join(path),
        "CUDA_HOME": wish.cuda_home,
        "CUDA_PATH": wish.cuda_home,
        "CUDACXX": f"{wish.cuda_home}/bin/nvcc",
        # Without a GPU in sight torch would not know what to compile for, and end in an IndexError.
        "TORCH_CUDA_ARCH_LIST": wish.cuda_archs,
        "MAX_JOBS": str(jobs),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
        "KTRANSFORMERS_FORCE_BUILD": "TRUE",
        "CPU_INSTRUCT": wish.cpu_instruct,
        "VIRTUAL_ENV": str(wish.env),
        "NO_COLOR": "1",
    }
    if wish.numa:
        found["USE_NUMA"] = "1"
    if wish.balance_serve:
        found["USE_BALANCE_SERVE"] = "1"
    return found


def _installed(wish: Wish, environment: dict[str, str], flags: list[str], progress: Progress) -> bool:
    """Whether wheels of the wheelhouse are in the environment now, and load."""
    wheels = kept.find(wish, wish.packages, flags)
    if not wheels:
        return False
    progress.tell("installing what was built before")
    sys.stdout.write(f"built before: {', '.join(wheel.name for wheel in wheels)}\n")
    try:
        for wheel in wheels:
            _install(wish, wheel, environment, Output(progress, "installing what was built before"))
        _try(wish, environment)
    except Trouble as trouble:
        # Built beside a newer C library or libstdc++, say: nothing of that is in the key.
        sys.stdout.write(f"it is of no use here, and is built anew: {trouble}\n")
        return False
    return True


def _wait_for_sources(wish: Wish, progress: Progress) -> None:
    if wish.source_job:
        _wait(wish, wish.source_job, progress)
    source.check(wish.sources)


def _wait(wish: Wish, job: str, progress: Progress) -> None:
    progress.tell(f"waiting for the job {job}")
    argv = [str(wish.root / "bin" / "boxctl"), "job", "wait", job, "--timeout", str(wish.timeout)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"the job `{job}` did not end well, and the build needs it: `gpubox logs NAME {job}` says why")


def _clear_others(wish: Wish) -> None:
    """Remove what was built with other options; what was interrupted with these ones goes on where it was."""
    options = json.dumps(
        {
            "numa": wish.numa,
            "balance_serve": wish.balance_serve,
            "cpu": wish.cpu_instruct,
            "archs": wish.cuda_archs,
            "cuda": wish.cuda_home,
            "torch": fingerprint.of_environment(wish.env),
        },
        sort_keys=True,
    )
    stamp = wish.sources.path / _OPTIONS
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != options:
        for pattern in _BUILD_DIRS:
            for directory in wish.sources.path.glob(pattern):
                shutil.rmtree(directory)
        stamp.write_text(options, encoding="utf-8")


def _build(wish: Wish, directory: Path, name: str, environment: dict[str, str], progress: Progress) -> Path:
    """Build a wheel and install it; the wheel."""
    uv, python = str(wish.root / "controller" / "bin" / "uv"), str(wish.env / "bin" / "python")
    wheels = wish.sources.path / "dist" / name
    shutil.rmtree(wheels, ignore_errors=True)
    output = Output(progress, f"building {_shown(name)}")
    progress.tell(f"building {_shown(name)}", jobs=int(environment["MAX_JOBS"]))
    argv = [uv, "build", "--wheel", "--no-build-isolation", "--python", python, "--out-dir", str(wheels), "."]
    if run_command(argv, environment, directory, output) != 0:
        if output.killed():
            fewer = max(1, int(environment["MAX_JOBS"]) // 2)
            raise Trouble(
                f"a compiler of {_shown(name)} was killed, as the kernel does when the memory is gone: "
                f"set `ktransformers.max_jobs: {fewer}`; what is compiled stays compiled"
            )
        raise Trouble(f"{_shown(name)} could not be built: {output.why()}")
    if wish.numa and name == _MAIN and not toolchain.numa_was_built(output.text):
        raise Trouble(
            "the build left NUMA out although `ktransformers.use_numa: true`: libnuma was not found. "
            "On the box: `apt-get install -y libnuma-dev`, then try again"
        )
    built = next(iter(wheels.glob("*.whl")), None)
    if built is None:
        raise Trouble(f"{_shown(name)} was built without an error, but there is no wheel in `{wheels}`")
    if name == _MAIN and not built.name.startswith(f"ktransformers-{wish.reports}"):
        raise Trouble(f"the sources of {wish.sources.tag} made `{built.name}`; {wish.reports} was expected")
    _install(wish, built, environment, output)
    return built


def _install(wish: Wish, wheel: Path, environment: dict[str, str], output: Output) -> None:
    """Without its dependencies: these are in the environment, in pinned versions."""
    uv, python = str(wish.root / "controller" / "bin" / "uv"), str(wish.env / "bin" / "python")
    argv = [uv, "pip", "install", "--python", python, "--no-deps", "--reinstall", str(wheel)]
    if run_command(argv, environment, wheel.parent, output) != 0:
        raise Trouble(f"`{wheel.name}` was built, and could not be installed: {output.why()}")


def _shown(name: str) -> str:
    return "KTransformers" if name == _MAIN else name


def _try(wish: Wish, environment: dict[str, str]) -> None:
    """Load every extension: now, and not when the box bills for its GPU and the model is in memory."""
    program = f"import torch, {', '.join(wish.extensions)}"
    argv = [str(wish.env / "bin" / "python"), "-c", program]
    done = subprocess.run(argv, env=environment, cwd=wish.env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
    hint = ""
    if "GLIBCXX" in said:
        hint = (
            "; the Python of this environment brings an older libstdc++ than the compiler's (conda's does): "
            "`conda install -n base -c conda-forge libstdcxx-ng` on the box, or `python_env.python` set to another one"
        )
    elif "undefined symbol" in said:
        hint = "; it was built for another torch: remove the environment with `tasks_from: remove` and try again"
    raise Trouble(f"KTransformers was built, and cannot be loaded: {said.strip()}{hint}")


def _cpu_flags(instruct: str, flags: list[str]) -> list[str]:
    """The instructions that the result needs of a CPU."""
    return sorted(_INSTRUCTIONS.get(instruct, flags))
