"""One box and what it shall become: the facts, the box file, and what follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpubox.builds import vllm_build

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.remote.facts import Disk, Facts

GIB = 2**30
# AutoDL's mode without GPU has 0.5 core and 2 GiB; a little more, for limits that are set in other units.
_GPU_LESS_MEMORY = 2.2 * GIB
_AUTODL_DATA = "/root/autodl-tmp"


def data_dir(facts: Facts, box: BoxFile | None) -> str:
    """The big disk: the box file's, else /root/autodl-tmp where that can be written to, else ~/gpubox-data."""
    if box is not None and box.data_dir:
        return box.data_dir.rstrip("/")
    autodl = facts.disk(_AUTODL_DATA)
    # One without a byte left cannot be written to, either: it is named, and not passed over.
    if autodl is not None and autodl.exists and (autodl.writable or autodl.free == 0):
        return _AUTODL_DATA
    return f"{facts.system.home.rstrip('/')}/gpubox-data"


def root(facts: Facts, box: BoxFile | None) -> str:
    """Directory of everything that gpubox puts on the box."""
    return f"{data_dir(facts, box)}/gpubox"


def wanted_ports(box: BoxFile | None) -> dict[str, int]:
    """Ports that services will take on 127.0.0.1 of the box, by the field of the box file that says so."""
    if box is None:
        return {}
    ui = box.web_ui_settings
    ports = {f"{box.engine}.port": box.engine_port, "web_ui.port": ui.port if ui and ui.on == "box" else None}
    return {field: port for field, port in ports.items() if port is not None}


@dataclass(frozen=True, slots=True)
class Case:
    """What every check looks at. Without a box file only what gpubox itself needs is checked."""

    facts: Facts
    box: BoxFile | None

    @property
    def build(self) -> Literal["cpu", "cuda"] | None:
        """Which build of vLLM, if any."""
        return vllm_build(self.facts, self.box)

    @property
    def serves(self) -> bool:
        """Whether an engine is asked for."""
        return self.box is not None and self.box.engine is not None

    @property
    def web_ui(self) -> bool:
        """Whether the web UI is to run on this box."""
        ui = self.box.web_ui_settings if self.box is not None else None
        return ui is not None and ui.on == "box"

    @property
    def on_gpu(self) -> bool:
        """Whether something is asked for that computes on a GPU."""
        if self.box is None:
            return False
        return self.build == "cuda" or self.box.engine == "ktransformers" or self.box.gpu is not None

    @property
    def tensor_parallel(self) -> int:
        """Cards that one copy of the model is spread over."""
        vllm = self.box.vllm if self.box else None
        if vllm is None or self.build != "cuda":
            return 1
        return (vllm.tensor_parallel_size or 1) * (vllm.pipeline_parallel_size or 1)

    @property
    def gpu_less(self) -> bool:
        """Whether the box was started in a mode without GPU, which is cheap and has hardly any memory."""
        gpu, memory = self.facts.gpu, self.facts.memory
        if gpu.cards or gpu.device_nodes:
            return False
        small = 0 < memory.effective <= _GPU_LESS_MEMORY
        return gpu.nvidia_smi == "placeholder" or (small and self.facts.autodl.likely)

    @property
    def data_dir(self) -> str:
        """The big disk."""
        return data_dir(self.facts, self.box)

    @property
    def data_disk(self) -> Disk | None:
        """What the probe saw where `data_dir` is or will be."""
        seen = self.facts.disk(self.data_dir)
        if seen is None and self.data_dir.startswith(self.facts.system.home.rstrip("/") + "/"):
            seen = self.facts.disk(self.facts.system.home)
        return seen

    @property
    def converged(self) -> bool:
        """Whether gpubox stands on this box already, environments and all."""
        return self.facts.gpubox.digest is not None


def size(amount: float) -> str:
    """Bytes for people: GiB with one digit, MiB below one GiB."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / 2**20:.0f} MiB"


def install(facts: Facts, *packages: str) -> str:
    """The command that installs system packages on this box, of whatever family it is."""
    sudo = "" if facts.system.uid == 0 else "sudo "
    names = " ".join(packages)
    if facts.has("apt-get"):
        return f"on the box: `{sudo}apt-get update && {sudo}apt-get install -y {names}`"
    for manager, verb in (("dnf", "install -y"), ("yum", "install -y"), ("apk", "add")):
        if facts.has(manager):
            return f"on the box: `{sudo}{manager} {verb} {names}`"
    return f"install on the box: {names}; or choose another image"
