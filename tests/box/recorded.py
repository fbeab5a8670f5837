"""What a box shows of hardware that it has not: the answers of its driver, its compiler and its kernel, recorded.

Programs answer in the place of `nvidia-smi` and `nvcc`; the kernel's files are read by the probe alone, below a
directory that stands for `/` there: whatever else runs on the box sees the machine that it is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from box.testbox import TestBox

ROOT = "/opt/recorded"
# Xeon Gold 6430, as boxes with these cards have it: 32 cores of a socket, two threads each.
_FLAGS = "fpu sse4_2 fma f16c avx avx2 avx512f avx512bw avx512vl avx512_vnni avx512_vbmi avx512_bf16 amx_bf16 amx_tile"
# All that the probe reads below its root and that stays the box's own; of /proc these.
_OWN = ("dev", "etc", "init", "lib", "lib64", "opt", "root", "run", "tmp", "usr", "var")
_OWN_PROC = ("mounts", "loadavg", "net", "sys", "1")


def card(box: TestBox, *, count: int = 1, cuda: str = "12.1") -> None:
    """`count` RTX 4090 with a driver of CUDA 12.4, as a box of AutoDL's printed it, and the nvcc of CUDA `cuda`."""
    row = "NVIDIA GeForce RTX 4090, 24564, 24209, 550.90.07, 4"
    rows = "; ".join(f'echo "{n}, {row}, GPU-6f1c2a7{n}, 8.9"' for n in range(count))
    banner = "| NVIDIA-SMI 550.90.07    Driver Version: 550.90.07    CUDA Version: 12.4     |"
    answer = f'#!/bin/sh\ncase "$*" in\n*--query-gpu*) {rows} ;;\n*) echo "{banner}" ;;\nesac\n'
    box.write("/usr/bin/nvidia-smi", answer, mode=0o755)
    says = f"Cuda compilation tools, release {cuda}, V{cuda}.105"
    box.write(f"/usr/local/cuda-{cuda}/bin/nvcc", f'#!/bin/sh\necho "{says}"\n', mode=0o755)
    nodes = " ".join(f"/dev/nvidia{n}" for n in range(count))
    box.exec(f"ln -s cuda-{cuda} /usr/local/cuda; touch {nodes}")


def host(box: TestBox, *, memory_gib: int, cores: int) -> None:
    """A host of that much memory and so many cores of two threads, to whoever asks it from now on."""
    processors = (
        f"processor\t: {n}\nmodel name\t: Intel(R) Xeon(R) Gold 6430\nphysical id\t: 0\ncore id\t\t: {n % cores}\n"
        f"flags\t\t: {_FLAGS} amx_int8\n"
        for n in range(2 * cores)
    )
    kib = memory_gib << 20
    files = {
        "proc/meminfo": f"MemTotal:       {kib} kB\nMemAvailable:   {kib - (8 << 20)} kB\nSwapTotal:      0 kB\n",
        "proc/cpuinfo": "\n".join(processors),
        "proc/self/status": f"Cpus_allowed_list:\t0-{2 * cores - 1}\nMems_allowed_list:\t0\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/devices/system/cpu/online": f"0-{2 * cores - 1}\n",
        "sys/devices/system/node/node0/cpulist": f"0-{2 * cores - 1}\n",
        "sys/devices/system/node/node0/meminfo": f"Node 0 MemTotal:       {kib} kB\n",
    }
    for name, text in files.items():
        box.write(f"{ROOT}/{name}", text)
    links = [f"ln -s /{name} {ROOT}/{name}" for name in _OWN]
    links += [f"ln -s /proc/{name} {ROOT}/proc/{name}" for name in _OWN_PROC]
    done = box.exec(" && ".join(links))
    assert done.exit_code == 0, done.stderr
    # The probe is begun by this word (gpubox.remote.facts.command), over SSH and in a converge.
    begun = f'case "$1" in GPUBOX_PORTS=*) export GPUBOX_PROBE_ROOT={ROOT} ;; esac'
    box.write("/usr/local/bin/env", f'#!/bin/sh\n{begun}\nexec /usr/bin/env "$@"\n', mode=0o755)
