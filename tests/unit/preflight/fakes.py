"""Fake roots for the probe: /proc, /sys, /dev trees and a PATH on which only chosen programs are found."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpubox.remote import facts

PROBE = Path(facts.__file__).with_name("probe.sh")
# All that the probe needs besides the shell; a box with less than this is no Linux box.
NEEDED = (
    "awk",
    "cat",
    "date",
    "df",
    "getconf",
    "grep",
    "id",
    "ldd",
    "ls",
    "readlink",
    "rm",
    "sed",
    "sleep",
    "sort",
    "tail",
    "tr",
    "uname",
)

CPUINFO = """processor\t: {n}
model name\t: {model}
physical id\t: {socket}
core id\t\t: {core}
flags\t\t: fpu sse avx avx2 fma f16c avx512f amx_tile

"""


@dataclass
class FakeBox:
    """A directory that stands for /, and the environment that the probe runs in."""

    root: Path
    shell: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        for program in (*NEEDED, "timeout", "iconv"):
            if path := shutil.which(program):
                (self.bin / program).symlink_to(path)
        for directory in ("proc/1", "proc/self", "proc/net", "sys/fs/cgroup", "etc", "dev/shm", "tmp", "home/box"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        self.write("proc/sys/kernel/hostname", "box\n")
        self.write("proc/1/comm", "bash\n")
        self.write("etc/os-release", 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n')
        self.write("proc/meminfo", "MemTotal:       790527344 kB\nMemAvailable:   700000000 kB\nSwapTotal:     0 kB\n")
        self.write("proc/mounts", "overlay / overlay rw,relatime 0 0\n")
        self.cpus(4)

    @property
    def bin(self) -> Path:
        """The only directory on the box's PATH."""
        return self.root / "fake-bin"

    def write(self, path: str, text: str) -> Path:
        """A file of the box."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def program(self, name: str, text: str) -> Path:
        """A program on the box's PATH; replaces one of the same name."""
        (self.bin / name).unlink(missing_ok=True)
        target = self.write(f"fake-bin/{name}", f"#!/bin/sh\n{text}\n")
        target.chmod(0o755)
        return target

    def cpus(self, count: int, model: str = "Intel(R) Xeon(R) Gold 6430") -> None:
        """That many logical CPUs, two to a core, half of them on each of two sockets."""
        lines = [CPUINFO.format(n=n, model=model, socket=n * 2 // count, core=n // 2) for n in range(count)]
        self.write("proc/cpuinfo", "".join(lines))
        self.write("sys/devices/system/cpu/online", f"0-{count - 1}\n")
        self.write("proc/self/status", f"Name:\tsh\nCpus_allowed_list:\t0-{count - 1}\n")
        for node in (0, 1):
            (self.root / f"sys/devices/system/node/node{node}").mkdir(parents=True, exist_ok=True)

    def run(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """The probe, fed to the shell on stdin as over SSH."""
        shell = [shutil.which(self.shell[0]) or self.shell[0], *self.shell[1:]]
        env = {"PATH": str(self.bin), "HOME": "/home/box", "SHELL": "/bin/bash", "GPUBOX_PROBE_ROOT": str(self.root)}
        return subprocess.run(
            [*shell, "-s", "--", *args],
            input=PROBE.read_bytes(),
            capture_output=True,
            env=env | self.env,
            timeout=timeout,
            check=True,
            cwd=self.root,
        )

    def raw(self, *args: str) -> dict[str, Any]:
        """The JSON object that the probe printed; fails when there is anything else on stdout."""
        text = self.run(*args).stdout.decode("utf-8", errors="strict")
        assert text.count("\n") == 1
        document: dict[str, Any] = json.loads(text)
        return document

    def facts(self, *args: str) -> facts.Facts:
        """The same as facts."""
        return facts.parse(self.run(*args).stdout.decode())

    def tree(self) -> set[str]:
        """Every path below the root, to see that nothing was left there."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
