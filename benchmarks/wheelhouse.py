"""The second box with a warm wheelhouse against the first, which compiles: real units, compiler and tools."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, run, table

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = [str(ROOT / "roles" / role / "files") for role in ("python_env", "wheelhouse", "cuda_toolkit", "flash_attn")]
sys.path[:0] = [str(ROOT / "tests"), *PROGRAMS]

import make_env  # noqa: E402 - found by the line above

from box.testbox.base import cache_root  # noqa: E402
from build import flash  # noqa: E402

# One of the 72 units of the pinned version, the smallest: the rest differs in nothing but time.
UNIT = "flash_fwd_hdim32_bf16_sm80"
VERSION = "0.0.1"

SETUP = f"""\
import os, subprocess, torch
from setuptools import setup
from setuptools.command.build_py import build_py

class Build(build_py):
    def run(self):
        subprocess.run(["ninja", "-v", "-j", os.environ["MAX_JOBS"]], cwd="build/temp", check=True)
        super().run()

setup(name="flash_attn", version="{VERSION}", packages=["flash_attn"], cmdclass={{"build_py": Build}},
      data_files=[("objects", ["build/temp/{UNIT}.o"])])
"""


def main() -> str:
    """Measure, and give the section of the report."""
    kept = cache_root() / "builds"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        place = Path(directory)
        links = _links(place, kept)
        first, second = _box(place / "first"), _box(place / "second")
        toolkit = _program("cuda_toolkit", "GPUBOX_CUDA_TOOLKIT", _toolkit(first))
        built = _program("flash_build", "GPUBOX_FLASH_ATTN", _request(first, links), "run")
        # As `gpubox up` sends it.
        shutil.copytree(first / "wheelhouse", second / "wheelhouse")
        installed = _program("flash_build", "GPUBOX_FLASH_ATTN", _request(second, links), "run")
    whole = toolkit.wall + built.wall
    rows = [
        ("first box: fetch the compiler", f"{toolkit.wall:.1f}", f"{toolkit.cpu:.1f}", ""),
        ("first box: compile and install", f"{built.wall:.1f}", f"{built.cpu:.1f}", f"{built.peak_mib / 1024:.1f}"),
        ("second box: install what was kept", f"{installed.wall:.2f}", f"{installed.cpu:.2f}", ""),
    ]
    times = f"{whole / installed.wall:.0f}"
    return (
        "## FlashAttention on the second box\n\nThe role's own programs, the pinned compiler from wheels, real ninja "
        f"and torch's headers; one run. Of the 72 units one is compiled (`{UNIT}`, the smallest): the whole package "
        f"takes more than 72 times the CPU seconds. With this one unit the second box is {times} times quicker.\n\n"
    ) + table(("step", "wall s", "CPU s", "peak GiB"), rows)


def _links(place: Path, kept: Path) -> Path:
    """A directory with a source archive of one real unit."""
    links = place / "links"
    links.mkdir()
    texts = {
        "setup.py": SETUP,
        "flash_attn/__init__.py": "",
        "build/temp/build.ninja": flash.ninja_file(kept, "$$CUDA_HOME", [UNIT]),
    }
    with tarfile.open(links / f"flash_attn-{VERSION}.tar.gz", "w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"flash_attn-{VERSION}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return links


def _box(root: Path) -> Path:
    """A gpubox root with an environment that has the files by which torch is known."""
    programs = root / "controller/bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "uv").symlink_to(Path(sys.executable).parent / "uv")
    env = root / "envs/engine"
    run([str(programs / "uv"), "venv", "--quiet", "--python", sys.executable, str(env)])
    (torch,) = env.glob("lib/python3.*/site-packages")
    (torch / "torch").mkdir()
    (torch / "torch/__init__.py").touch()
    (torch / "torch/version.py").write_text("__version__ = '2.13.0+cu130'\ncuda = '13.0'\n")
    return root


def _toolkit(root: Path) -> dict[str, object]:
    wheels = flash.versions("cuda_toolkit")["cuda_toolkit_wheels"]
    assert isinstance(wheels, dict)
    return {
        "root": str(root), "version": "13.0", "key": "0" * 64, "source": "wheels", "archs": ["80"],
        "wheels": wheels["13.0"], "conda_channel": "", "conda_packages": [], "index": {},
    }  # fmt: skip


def _request(root: Path, links: Path) -> dict[str, object]:
    return {
        "root": str(root), "env_name": "engine", "version": VERSION, "build": "auto", "wheel": "", "wheel_base_url": "",
        "cuda": "", "archs": "80", "max_jobs": 1, "nvcc_threads": 1, "sha256": "",
        "tools": flash.versions("flash_attn")["flash_attn_tools"], "requires": [], "imports": ["flash_attn"],
        "index": {"find_links": [str(links), *make_env.pip_configuration(os.environ).get("find-links", [])]},
    }  # fmt: skip


def _program(name: str, variable: str, request: dict[str, object], *words: str) -> Cost:
    env = {
        **os.environ,
        variable: json.dumps(request),
        "PYTHONPATH": ":".join(PROGRAMS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return run([sys.executable, "-m", name, *words], env=env)


if __name__ == "__main__":
    print(main())
