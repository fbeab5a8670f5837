"""What the probe finds out for builds: cores and NUMA nodes that are ours, compilers, libstdc++, toolkits."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .fakes import FakeBox

GIB = 2**30


def node(box: FakeBox, number: int, cpus: str, gib: int) -> None:
    """A NUMA node with its CPUs and memory."""
    box.write(f"sys/devices/system/node/node{number}/cpulist", f"{cpus}\n")
    box.write(f"sys/devices/system/node/node{number}/meminfo", f"Node {number} MemTotal:   {gib * 2**20} kB\n")


@pytest.mark.parametrize(
    ("allowed", "cores"),
    [("0-127", 64), ("0-15", 8), ("0,2,4,6", 4), ("0-1,64-65", 2), ("5", 1)],
)
def test_different_cores_among_the_cpus_that_are_ours(fake_box: FakeBox, allowed: str, cores: int) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/status", f"Cpus_allowed_list:\t{allowed}\n")
    assert fake_box.facts().cpu.physical_effective == cores


@pytest.mark.parametrize(("quota", "cores"), [("1600000", 16), ("50000", 1), ("max", 64), ("12800000", 64)])
def test_a_quota_caps_them(fake_box: FakeBox, quota: str, cores: int) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/cgroup", "0::/box\n")
    fake_box.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    fake_box.write("sys/fs/cgroup/box/cpu.max", f"{quota} 100000\n")
    fake_box.write("sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nnr_periods 900\nnr_throttled 31\nthrottled_usec 4\n")
    fake_box.write("sys/fs/cgroup/cpu.stat", "usage_usec 5\n")
    fake_box.write("proc/loadavg", "38.51 40.02 41.00 3/900 1234\n")
    cpu = fake_box.facts().cpu
    assert (cpu.physical_effective, cpu.throttled, cpu.load1) == (cores, 31, 38.51)


def test_the_cpuset_counts_where_the_affinity_says_nothing(fake_box: FakeBox) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/status", "Name:\tsh\n")
    fake_box.write("proc/self/cgroup", "3:cpuset:/docker/4f1c\n")
    fake_box.write("sys/fs/cgroup/cpuset/cpuset.cpus", "0-31\n")
    cpu = fake_box.facts().cpu
    assert (cpu.cpuset, cpu.physical_effective, cpu.throttled, cpu.load1) == (32, 16, None, None)


def test_a_board_that_names_no_cores(fake_box: FakeBox) -> None:
    fake_box.write("proc/cpuinfo", "".join(f"processor\t: {n}\nFeatures\t: fp asimd\n\n" for n in range(4)))
    fake_box.write("proc/self/status", "Cpus_allowed_list:\t0-3\n")
    assert fake_box.facts().cpu.physical_effective == 4


def test_numa_nodes_that_are_ours(fake_box: FakeBox) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/status", "Cpus_allowed_list:\t0-15,64-79\nMems_allowed_list:\t0-1\n")
    for number, cpus in enumerate(("0-31,64-95", "32-63,96-127", "")):
        node(fake_box, number, cpus, 376)
    found = [(item.node, item.memory, item.cpus) for item in fake_box.facts().numa]
    assert found == [(0, 376 * GIB, 32), (1, 376 * GIB, 0)]


def test_numa_nodes_of_a_kernel_that_tells_little(fake_box: FakeBox) -> None:
    assert [(item.node, item.memory, item.cpus) for item in fake_box.facts().numa] == [(0, None, 0), (1, None, 0)]
    shutil.rmtree(fake_box.root / "sys")
    assert fake_box.facts().numa == ()


def test_compilers(fake_box: FakeBox) -> None:
    assert set(fake_box.facts().compilers.model_dump().values()) == {None}
    fake_box.program("gcc", '[ "$*" = "-dumpfullversion -dumpversion" ] && echo 11.4.0')
    fake_box.program("g++", "echo 12")
    fake_box.program("cmake", 'echo "cmake version 3.22.1"; echo; echo "CMake suite maintained by Kitware 9"')
    fake_box.program("ninja", "echo 1.11.1.git.kitware.jobserver-1")
    fake_box.program("git", "echo no such thing >&2; exit 1")
    found = fake_box.facts().compilers
    assert (found.gcc, found.gxx, found.cmake, found.ninja, found.git) == ("11.4.0", "12", "3.22.1", "1.11.1.", None)


def test_libstdcxx_by_its_name(fake_box: FakeBox) -> None:
    assert fake_box.facts().system.glibcxx is None
    fake_box.write("usr/lib/riscv64-linux-gnu/libstdc++.so.6.0.30", "")
    (fake_box.root / "usr/lib/riscv64-linux-gnu/libstdc++.so.6").symlink_to("libstdc++.so.6.0.30")
    assert fake_box.facts().system.glibcxx == "3.4.30"


def test_libstdcxx_that_is_a_copy_and_conda_s(fake_box: FakeBox) -> None:
    library = fake_box.write("usr/lib64/libstdc++.so.6", "")
    library.write_bytes(b"\x7fELF\x00GLIBCXX_3.4\x00GLIBCXX_3.4.9\x00\xffGLIBCXX_3.4.28\x00GLIBCXX_DEBUG_\x00")
    conda = fake_box.write("root/miniconda3/bin/conda", "#!/bin/sh\n")
    conda.chmod(0o755)
    fake_box.write("root/miniconda3/lib/libstdc++.so.6.0.29", "")
    (fake_box.root / "root/miniconda3/lib/libstdc++.so.6").symlink_to("libstdc++.so.6.0.29")
    facts = fake_box.facts()
    assert (facts.system.glibcxx, facts.conda_glibcxx) == ("3.4.28", "3.4.29")


def test_toolkits_and_the_library_path(fake_box: FakeBox) -> None:
    for version in ("12.1", "12.4"):
        fake_box.write(f"usr/local/cuda-{version}/bin/nvcc", "#!/bin/sh\n").chmod(0o755)
    fake_box.write("usr/local/cuda-11.8/lib64/libcudart.so", "")
    (fake_box.root / "usr/local/cuda").symlink_to("cuda-12.1")
    there = fake_box.root / "usr/local/cuda"
    fake_box.env["LD_LIBRARY_PATH"] = f"{there}::/nowhere/at all"
    facts = fake_box.facts()
    assert facts.gpu.toolkits == ("/usr/local/cuda-12.1", "/usr/local/cuda-12.4")
    assert facts.system.ld_library_path == f"{fake_box.root}/usr/local/cuda-12.1:/nowhere/at all"
