"""What a box is: read in one round trip by a POSIX-sh probe that needs neither Python nor root on the box."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gpubox.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubox.remote.host import Host

PROBE: str = Path(__file__).with_name("probe.sh").read_text(encoding="utf-8")

_MARK = '{"gpubox_facts":'
# nvidia-smi on eight sleeping cards may take ten seconds, a dead network disk is given up after eight.
_TIMEOUT_S = 60.0


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class System(_Fact):
    """Names and versions of the operating system. `unix_time` in seconds, by the box's clock.

    `glibcxx`: newest interface of the system's libstdc++, as in "3.4.30". `ld_library_path`: what a login has set, with
    links followed, so that it names the CUDA toolkit that is meant.
    """

    hostname: str = ""
    user: str = "root"
    uid: int = 0
    home: str = "/root"
    shell: str = ""
    os_id: str = ""
    os_version: str = ""
    os_name: str = ""
    kernel: str = ""
    arch: str = ""
    libc: Literal["glibc", "musl", "unknown"] = "unknown"
    libc_version: str | None = None
    init: str = ""
    glibcxx: str | None = None
    ld_library_path: str | None = None
    systemd: bool = False
    locale: str = ""
    unix_time: int | None = None


class Cpu(_Fact):
    """Logical CPUs of the host, and what the box may really use: `effective`, in cores (0.5 is half a core).

    `quota_cores` is the cgroup's CPU time limit, `cpuset` and `affinity` count the CPUs that may be run on.
    `physical_effective`: different cores among these, at most the quota. `throttled`: how often the box was stopped
    since it started because its quota was used up. `load1`: load of the whole host.
    """

    model: str = ""
    logical: int | None = None
    physical: int | None = None
    sockets: int | None = None
    numa_nodes: int = 0
    affinity: int | None = None
    cpuset: int | None = None
    quota_cores: float | None = None
    effective: float = 0.0
    physical_effective: int | None = None
    throttled: int | None = None
    load1: float | None = None
    flags: tuple[str, ...] = ()


class NumaNode(_Fact):
    """One NUMA node that the box may take memory from: its size in bytes, and how many of the box's CPUs are on it."""

    node: int
    memory: int | None = None
    cpus: int = 0


class Memory(_Fact):
    """All in bytes. `effective` is the smaller of the host's memory and the cgroup limit; `available` respects both."""

    host_total: int | None = None
    cgroup_limit: int | None = None
    cgroup_version: int | None = None
    effective: int = 0
    available: int | None = None
    swap: int | None = None
    shm: int | None = None


class Disk(_Fact):
    """One place. Sizes in bytes. A path that does not exist yet was judged by its nearest parent, `probed`.

    `hung`: nothing answered within the limit, as with a dead network disk. `inodes_free` is None where there is no
    fixed number of them.
    """

    path: str
    exists: bool = True
    probed: str = ""
    mount: str | None = None
    source: str | None = None
    fs: str | None = None
    size: int | None = None
    free: int | None = None
    inodes_free: int | None = None
    read_only: bool = False
    writable: bool = False
    hung: bool = False


class Card(_Fact):
    """One GPU. Memory in bytes; `compute_cap` as in "8.9"."""

    index: int | None = None
    name: str = ""
    memory_total: int | None = None
    memory_free: int | None = None
    driver: str = ""
    compute_cap: str | None = None
    pcie_gen: int | None = None
    uuid: str = ""


class Gpu(_Fact):
    """The NVIDIA side of the box.

    `nvidia_smi`: `placeholder` is the 0-byte file of a box started without GPU, `hung` a driver that does not answer.
    `driver_cuda` is the newest CUDA that the driver knows, `nvcc_version` that of the compiler found first, `toolkits`
    the directories /usr/local/cuda-* that have one.
    """

    nvidia_smi: Literal["ok", "absent", "placeholder", "failed", "hung"] = "absent"
    nvidia_smi_says: str | None = None
    device_nodes: int = 0
    driver: str | None = None
    driver_cuda: str | None = None
    cards: tuple[Card, ...] = ()
    nvcc: str | None = None
    nvcc_version: str | None = None
    toolkits: tuple[str, ...] = ()


class Python(_Fact):
    """A Python interpreter, and which of the modules that make environments it has."""

    path: str
    version: str
    venv: bool = False
    ensurepip: bool = False
    pip: bool = False

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split(".") if part.isdigit())


class Pip(_Fact):
    """Where pip's packages come from, without user, password and query."""

    index_url: str | None = None


class Compilers(_Fact):
    """Versions of what sources are built with; None where it is not there."""

    gcc: str | None = None
    gxx: str | None = None
    cmake: str | None = None
    ninja: str | None = None
    git: str | None = None


class Gpubox(_Fact):
    """What gpubox left here before: the place it would use, the last good converge, and the ports of its services."""

    root: str = ""
    digest: str | None = None
    bundle: str | None = None
    at: str | None = None
    service_ports: tuple[int, ...] = ()


class Autodl(_Fact):
    """Marks of an AutoDL box."""

    hostname: bool = False
    init: bool = False
    network_turbo: bool = False

    @property
    def likely(self) -> bool:
        """Two marks of three."""
        return self.hostname + self.init + self.network_turbo >= 2


class Facts(_Fact):
    """Everything that the probe found. `read_at`: seconds by this machine's clock when the answer was there.

    `conda_glibcxx`: newest interface of the libstdc++ that conda's base environment brings along.
    """

    system: System = System()
    cpu: Cpu = Cpu()
    numa: tuple[NumaNode, ...] = ()
    memory: Memory = Memory()
    disks: tuple[Disk, ...] = ()
    gpu: Gpu = Gpu()
    pythons: tuple[Python, ...] = ()
    conda: str | None = None
    conda_glibcxx: str | None = None
    tools: dict[str, str | None] = {}
    compilers: Compilers = Compilers()
    libraries: dict[str, str | None] = {}
    pip: Pip = Pip()
    listening: tuple[int, ...] = ()
    holders: dict[int, str] = {}
    gpubox: Gpubox = Gpubox()
    autodl: Autodl = Autodl()
    read_at: float | None = None

    @property
    def gpus(self) -> tuple[Card, ...]:
        """The cards that answered."""
        return self.gpu.cards

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the box's clock is ahead of this machine's (negative: behind); None when not measured."""
        if self.system.unix_time is None or self.read_at is None:
            return None
        return self.system.unix_time - self.read_at

    def disk(self, path: str) -> Disk | None:
        """The place `path`, when the probe looked at it."""
        wanted = path.rstrip("/") or "/"
        return next((disk for disk in self.disks if disk.path == wanted), None)

    def has(self, tool: str) -> bool:
        """Whether a program of that name is on the box's PATH (of those the probe looks for)."""
        return bool(self.tools.get(tool))


def read_facts(host: Host, data_dir: str | None = None, *, ports: Iterable[int] = ()) -> Facts:
    """The facts of the box behind `host`, in one round trip; `data_dir` is looked at besides the usual places.

    For `ports` the answer names who holds them. Raises `Failed` when the box does not answer with facts, and what the
    connection raises.
    """
    return parse(host.run(command(data_dir, ports), stdin=PROBE.encode(), timeout=_TIMEOUT_S, retry=True).stdout)


def command(data_dir: str | None, ports: Iterable[int] = (), *, script: str | None = None) -> str:
    """The line that runs the probe, whatever the login's shell: from stdin, or from the file `script` on the box."""
    words = ["env", "GPUBOX_PORTS=" + " ".join(map(str, ports)), "sh", *([script] if script else ["-s", "--"])]
    return shlex.join([*words, data_dir] if data_dir else words)


def parse(output: str, *, read_at: float | None = None) -> Facts:
    """The facts in the probe's output; greetings before and after are passed over. Raises `Failed` when there are none.

    `read_at`: seconds by this machine's clock; left out: now.
    """
    line = next((line[line.index(_MARK) :] for line in output.splitlines() if _MARK in line), None)
    if line is None:
        said = output.strip()[-300:]
        raise Failed(
            "the box did not answer with its facts" + (f"; it said: {said}" if said else "; it said nothing"),
            hint="log in by hand and see whether `sh -c 'echo ok'` prints `ok`; "
            "a start-up file (.bashrc, .profile) that exits or asks something gets in the way",
        )
    try:
        facts, _ = json.JSONDecoder().raw_decode(line)
        return Facts.model_validate({**facts, "read_at": time.time() if read_at is None else read_at})
    except (json.JSONDecodeError, ValidationError) as error:
        raise Failed(
            f"the box's facts cannot be read: {_first_mistake(error)}",
            hint="was the connection cut in the middle? try again; if it stays so, report it with what the box is",
        ) from error


def _first_mistake(error: json.JSONDecodeError | ValidationError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
