"""What the programs see of a box: its share of CPUs and memory, whole models, and what a server starts with."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kt_tools import gguf, machine, toolchain
from kt_tools.errors import Trouble

FILES = Path(__file__).resolve().parents[3] / "roles/ktransformers/files"
# Magic, version, number of tensors, number of metadata entries: a GGUF file without anything in it.
TINY = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)


V1 = "sys/fs/cgroup/cpu,cpuacct"
GROUPS = {"proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n"}
V2 = {"proc/self/cgroup": "0::/pod/me\n"}


def v1(quota: str) -> dict[str, str]:
    """A CPU time limit as cgroup v1 has it."""
    return {f"{V1}/cpu.cfs_quota_us": quota, f"{V1}/cpu.cfs_period_us": "100000", **GROUPS}


def limit(below: str) -> dict[str, str]:
    """Half a GiB of memory, as cgroup v2 has it."""
    return {f"sys/fs/cgroup/{below}memory.max": "536870912", f"sys/fs/cgroup/{below}memory.current": "1048576"}


def host(root: Path, files: dict[str, str]) -> Path:
    """A host with 2 sockets of 2 cores with 2 threads each: CPUs 0 to 7, 0 and 4 on one core."""
    whole = {
        "proc/meminfo": "MemTotal: 1048576 kB\nMemFree: 1 kB\nMemAvailable: 524288 kB\n",
        "proc/cpuinfo": "processor : 0\nflags : fpu avx avx2 amx_tile sse\n",
        "sys/devices/system/cpu/online": "0-7",
        "sys/devices/system/node/node0/cpulist": "0-1,4-5",
        "sys/devices/system/node/node1/cpulist": "2-3,6-7",
    }
    for cpu in range(8):
        topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
        whole |= {f"{topology}/core_id": str(cpu % 2), f"{topology}/physical_package_id": str(cpu % 4 // 2)}
    for name, text in {**whole, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cpus", "physical", "nodes", "memory"),
    [
        ({}, 8, 4, [0, 1], 1 << 30),
        ({**V2, "sys/fs/cgroup/cpu.max": "max 100000"}, 8, 4, [0, 1], 1 << 30),
        ({**V2, "sys/fs/cgroup/cpu.max": "300000 100000"}, 3, 3, [0, 1], 1 << 30),
        (v1("50000"), 1, 1, [0, 1], 1 << 30),
        (v1("-1"), 8, 4, [0, 1], 1 << 30),
        ({"sys/devices/system/cpu/online": "0-1,4-5"}, 4, 2, [0], 1 << 30),
        # Without a namespace of its own the group is somewhere below the mount; the tightest level counts.
        ({**V2, "sys/fs/cgroup/pod/me/cpu.max": "200000 100000", "sys/fs/cgroup/pod/cpu.max": "max 100000"}, 2, 2,
         [0, 1], 1 << 30),
        ({**V2, **limit("pod/"), "sys/fs/cgroup/pod/me/memory.max": "max"}, 8, 4, [0, 1], 1 << 29),
        ({**V2, **limit("")}, 8, 4, [0, 1], 1 << 29),
        ({**GROUPS, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 8, 4, [0, 1], 1 << 30),
    ],
)  # fmt: skip
def test_the_share_of_a_box(
    files: dict[str, str], cpus: int, physical: int, nodes: list[int], memory: int, tmp_path: Path
) -> None:
    seen = machine.read(host(tmp_path, files))
    assert (seen.cpus, seen.physical, seen.nodes, seen.memory) == (cpus, physical, nodes, memory)
    assert seen.flags == ["amx_tile", "avx", "avx2"]
    assert 0 < seen.available <= 512 << 20


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            V2,
            {
                "memory.max": "536870912",
                "memory.current": "530000000",
                "memory.stat": "anon 1\ninactive_file 400000000\n",
            },
        ),
        (
            GROUPS,
            {
                "memory/memory.limit_in_bytes": "536870912",
                "memory/memory.usage_in_bytes": "530000000",
                "memory/memory.stat": "cache 1\ntotal_inactive_file 400000000\n",
            },
        ),
    ],
)
def test_a_download_in_the_page_cache_is_no_used_memory(
    groups: dict[str, str], files: dict[str, str], tmp_path: Path
) -> None:
    seen = machine.read(host(tmp_path, groups | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}))
    assert seen.available == 536870912 - 130000000


@pytest.mark.parametrize(
    ("recipe", "cpus", "physical", "threads"),
    [
        ("classic", 64, 32, 30), ("classic", 16, 16, 14), ("classic", 2, 2, 1), ("classic", 1, 1, 1),
        ("current", 64, 32, 32), ("current", 16, 16, 14), ("current", 2, 2, 1), ("current", 1, 1, 1),
    ],
)  # fmt: skip
def test_threads(recipe: str, cpus: int, physical: int, threads: int) -> None:
    assert machine.cpu_infer(recipe, cpus, physical) == threads


def model(directory: Path, *names: str) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TINY)
    return directory


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["r1.gguf"], None),
        (["q4/r1-00001-of-00002.gguf", "q4/r1-00002-of-00002.gguf"], None),
        (["q4/r1-00001-of-00003.gguf", "q4/r1-00003-of-00003.gguf"], "lacks 1 of the 3 parts of r1: 00002-of-00003"),
        (["r1-Q4.gguf", "r1-Q8.gguf"], "holds 2 models"),
        ([], "no GGUF file"),
    ],
)
def test_one_whole_model(names: list[str], expected: str | None, tmp_path: Path) -> None:
    directory = model(tmp_path / "m", *names)
    if expected is None:
        found = gguf.look(directory)
        assert (found.bytes, found.files) == (len(TINY) * len(names), len(names))
    else:
        with pytest.raises(Trouble, match=expected):
            gguf.look(directory)


def test_what_is_no_gguf_file_is_told(tmp_path: Path) -> None:
    (model(tmp_path / "m", "r1.gguf") / "r1.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(Trouble, match="is no GGUF file"):
        gguf.look(tmp_path / "m")
    with pytest.raises(Trouble, match="name its parent"):
        gguf.look(tmp_path / "m.gguf")


def test_the_server_starts_without_a_library_path_and_only_with_its_weights(tmp_path: Path) -> None:
    weights = model(tmp_path / "m", "r1-00001-of-00002.gguf")
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    argv = [sys.executable, "-m", "kt_tools", "launch", "--env", str(tmp_path), "--weights", str(weights)]
    path = ":".join(str(FILES.parents[1] / role / "files") for role in ("ktransformers", "wheelhouse", "flash_attn"))
    environment = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}

    def start(*more: str) -> subprocess.CompletedProcess[str]:
        words = [*argv, *more, "--", sys.executable, "-c", program, "--", "--port", "1"]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    refused = start()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "lacks 1 of the 2 parts" in refused.stderr
    model(weights, "r1-00002-of-00002.gguf")
    arguments, seen = json.loads(start().stdout)
    assert arguments == ["--", "--port", "1"]
    assert not {"LD_LIBRARY_PATH", "PYTHONPATH"} & set(seen)
    assert json.loads(start("--keep-library-path").stdout)[1]["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"


def test_numa_needs_its_header(tmp_path: Path) -> None:
    for name, says in (("gcc", "gcc 12.2.0"), ("g++", "g++ 12.2.0"), ("cmake", "cmake version 3.31.6")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
    nvcc = tmp_path / "bin/nvcc"
    nvcc.write_text("#!/bin/sh\necho 'release 12.4, V12.4.131'\n")
    nvcc.chmod(0o755)
    environment = {"PATH": str(tmp_path / "bin"), "CUDA_HOME": str(tmp_path)}
    with pytest.raises(Trouble, match="libnuma-dev"):
        toolchain.look(environment, "12.4", numa=True, root=tmp_path)
    (tmp_path / "usr/include").mkdir(parents=True)
    (tmp_path / "usr/include/numa.h").touch()
    toolchain.look(environment, "12.4", numa=True, root=tmp_path)
    with pytest.raises(Trouble, match="built without CUDA"):
        toolchain.look(environment, None, numa=False, root=tmp_path)
