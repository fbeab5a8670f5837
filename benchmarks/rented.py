"""A test box for measurements: added, its packages at hand, reached through a line with a chosen round trip."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOT", "BoxFactory", "Gpubox", "Proxy", "TestBox", "ansible_env", "playbook_argv", "rented"]

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from box.testbox import BoxFactory, Proxy, TestBox  # noqa: E402 - found by the line above
from box.testbox.wheelhouse import offline  # noqa: E402
from e2e.cli import Gpubox  # noqa: E402

BOX_FILE = """
provider: attach
engine: vllm
model: small-gpt
vllm: {build: cpu, max_model_len: 1024, enforce_eager: true, cpu_kvcache_space: 1}
"""


@contextmanager
def rented(name: str = "mybox") -> Iterator[tuple[Gpubox, TestBox, Proxy]]:
    """A box in the ledger of an own HOME, reached through a proxy whose delay the caller sets."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory, BoxFactory() as boxes:
        box = boxes(**offline("controller", "small_gpt", "vllm"))
        with Proxy(box.port) as line:
            tool = Gpubox(Path(directory))
            tool("add", name, f"ssh -p {line.port} root@127.0.0.1", "--yes", stdin=f"{box.password}\n")
            tool.box_file(name, BOX_FILE)
            yield tool, box, line


def ansible_env(tool: Gpubox, *, mitogen: bool = False) -> dict[str, str]:
    """The environment of `ansible-playbook` in the checkout with its best settings, for the boxes of `tool`."""
    env = {
        **tool.env,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{tool.env['PATH']}",
        "GPUBOX_BOXES": str(tool.directory / "boxes"),
    }
    if mitogen:
        import ansible_mitogen

        env["ANSIBLE_STRATEGY"] = "mitogen_linear"
        env["ANSIBLE_STRATEGY_PLUGINS"] = str(Path(ansible_mitogen.__file__).parent / "plugins" / "strategy")
    return env


def playbook_argv(name: str = "mybox") -> list[str]:
    """The same playbook over SSH."""
    programs = Path(sys.executable).parent
    inventory, playbook = ROOT / "inventories/gpubox.yml", ROOT / "playbooks/up.yml"
    return [str(programs / "ansible-playbook"), "-i", str(inventory), str(playbook), "--limit", name]
