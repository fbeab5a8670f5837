"""kt-kernel's and sglang-kt's real wheels (200 MB): the CPU kernel computes, the parser takes what the role renders."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
COMMANDS = {
    path.stem: yaml.safe_load(path.read_text())["argv"].split()
    for path in sorted((TESTS / "unit/ktransformers/fixtures/commands").glob("current-*.yml"))
}


@pytest.fixture(scope="module")
def python(kept: Path) -> str:
    """Python of an environment with both wheels, NumPy and PyYAML, and no CUDA packages."""
    libc = platform.libc_ver()
    if libc[0] != "glibc" or tuple(map(int, libc[1].split("."))) < (2, 35):
        pytest.skip(f"the wheels need glibc 2.35, this machine has {' '.join(libc)}")
    versions = yaml.safe_load((TESTS.parent / "roles/ktransformers/vars/versions.yml").read_text())
    version = versions["ktransformers_versions"]["current"]
    environment = kept / f"kt-{version}-{sys.version_info.minor}"
    uv, made = Path(sys.executable).parent / "uv", environment / "bin/python"
    if not (environment / "whole").exists():
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
        wanted = [f"kt-kernel=={version}", f"sglang-kt=={version}", "numpy", "pyyaml"]
        subprocess.run([uv, "pip", "install", "--quiet", "--python", made, "--no-deps", *wanted], check=True)
        (environment / "whole").touch()
    return str(made)


def variants() -> list[str]:
    """The builds of the kernel that this CPU can run."""
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    needs = {"avx2": {"avx2"}, "avx512_base": {"avx512f", "avx512bw"}, "amx": {"amx_tile", "amx_int8", "amx_bf16"}}
    return [name for name, wanted in needs.items() if wanted <= flags]


@pytest.mark.parametrize("variant", variants())
def test_the_cpu_kernel_computes_what_numpy_does(variant: str, python: str) -> None:
    argv = [python, str(HERE / "kt_moe.py"), variant, "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert answer["error"] < 1e-4
    assert answer["seconds"] > 0


def parsed(python: str, commands: list[list[str]]) -> list[dict[str, Any]]:
    argv = [python, str(HERE / "kt_parse.py")]
    done = subprocess.run(argv, input=json.dumps(commands), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_the_parser_takes_every_rendered_command(python: str, tmp_path: Path) -> None:
    config = tmp_path / "sglang.yaml"
    config.write_text("api-key: sk-hunter2\n")
    commands = [
        [str(config) if word.endswith("sglang.yaml") else word for word in argv[3:]] for argv in COMMANDS.values()
    ]
    answers = dict(zip(COMMANDS, parsed(python, commands), strict=True))
    assert not [answer for answer in answers.values() if "refused" in answer]
    gguf, everything = answers["current-llamafile"], answers["current-bf16-all"]
    assert (gguf["host"], gguf["port"], gguf["kt_method"], gguf["kt_cpuinfer"]) == ("127.0.0.1", 10002, "LLAMAFILE", 30)
    # Upstream's own default is 2, wrong on a box with one NUMA node.
    assert gguf["kt_threadpool_count"] == 1
    assert (everything["api_key"], everything["tensor_parallel_size"]) == ("sk-hunter2", 2)
    assert everything["max_total_tokens"] == 32768
    assert everything["disable_cuda_graph"] is True
    assert everything["enable_mixed_chunk"] is True


def test_the_parser_refuses_what_it_does_not_know(python: str) -> None:
    """So that the test before can fail."""
    answers = parsed(
        python, [["--model-path", "/m", "--kt-cpu-infer", "4"], ["--model-path", "/m", "--kt-cpuinfer", "x"]]
    )
    assert ["refused" in answer for answer in answers] == [True, True]
