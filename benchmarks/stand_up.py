"""A fresh box until its model answers: ours, the same steps one after the other, and the longest chain."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import run, table
from benchmarks.rented import ROOT, BoxFactory, Gpubox, ansible_env
from box.testbox.wheelhouse import offline
from gpubox.converge.events import Message, Story
from sim.hub import HubFaults, Made, OnDisk, hub, repo
from sim.tiny_model import tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import TestBox
    from sim.hub import HubServer, Repo

# A line as rented boxes have it, scaled down with the model: 600 MB at 8 MB/s are 75 s, 16 GB at 213 MB/s, too.
PADDING_BYTES = 600 * 10**6
TOTAL_RATE = 8e6
RATE = 3e6
GOAL = 1.1
MODEL = "gpubox/small"

BOX_FILE = f"""
provider: attach
engine: vllm
model: {{source: modelscope, id: {MODEL}}}
vllm: {{build: cpu, max_model_len: 1024, enforce_eager: true, cpu_kvcache_space: 1, served_model_name: small}}
"""


@dataclass(frozen=True, slots=True)
class Steps:
    """Wall seconds of one fresh box: all of it, and its long steps, each by itself."""

    whole: float
    environment: float
    model: float
    serve: float

    @property
    def limit(self) -> float:
        """The longest chain: what has to come before, the longer of the two that can run at once, and the start."""
        rest = self.whole - self.environment - self.model - self.serve
        return rest + max(self.environment, self.model) + self.serve


def main() -> str:
    """Measure, and give the section of the report."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory, BoxFactory() as boxes:
        place = Path(directory)
        faults = HubFaults(total_rate=TOTAL_RATE).slow(RATE)
        with hub({MODEL: _repo(place / "model")}, faults) as server:
            ours = _ours(place / "ours", boxes, server)
            steps = _one_after_the_other(place / "steps", boxes, server)
    rows = [
        ("`gpubox up`", f"{ours:.0f}", f"{ours / steps.limit:.2f}"),
        ("the same steps, one after the other", f"{steps.whole:.0f}", f"{steps.whole / steps.limit:.2f}"),
        ("the longest chain (limit)", f"{steps.limit:.0f}", "1.00"),
    ]
    return (
        "## Stand-up of a fresh box with a download\n\n"
        f"A model of {PADDING_BYTES / 1e6:.0f} MB from the simulated hub ({TOTAL_RATE / 1e6:.0f} MB/s in all, "
        f"{RATE / 1e6:.0f} MB/s each connection), a real environment, real vLLM (CPU) until it answers; each from a "
        f"new box, wall seconds. Goal: at most {GOAL} times the limit.\n\n"
        + table(("way", "wall s", "of the limit"), rows)
        + f"\nThe steps alone: environment {steps.environment:.0f} s, model {steps.model:.0f} s, start of the engine "
        f"{steps.serve:.0f} s. On a machine of two cores the environment and the download share them.\n"
    )


def _repo(place: Path) -> Repo:
    """A model that vLLM loads in no time, made big with files that nothing loads."""
    files = {path.name: OnDisk(path) for path in tiny_model(place).iterdir()}
    half = PADDING_BYTES // 2
    return repo({**files, "extra/part-1.dat": Made(1, half), "extra/part-2.dat": Made(2, half)})


def _ours(place: Path, boxes: BoxFactory, server: HubServer) -> float:
    with _box(place, boxes) as (tool, _):
        tool.env.update(server.environment)
        tool.box_file("mybox", BOX_FILE)
        return run(tool.argv("up", "mybox", "--no-tunnel"), env=tool.env, cwd=tool.directory).wall


def _one_after_the_other(place: Path, boxes: BoxFactory, server: HubServer) -> Steps:
    with _box(place, boxes) as (tool, _):
        tool.env.update(server.environment)
        tool.box_file("mybox", BOX_FILE)
        tool("doctor", "mybox")  # the inventory takes the box's facts from the ledger
        events = tool.directory / "events.jsonl"
        inventory, playbook = ROOT / "inventories/gpubox.yml", ROOT / "benchmarks/stand_up.yml"
        argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(inventory), str(playbook), "--limit", "mybox"]
        env = {
            **ansible_env(tool),
            "GPUBOX_EVENTS": str(events),
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
        }
        whole = run(argv, env=env, cwd=ROOT).wall
    story = Story()
    for line in events.read_text().splitlines():
        story.take(Message("event", {"event": json.loads(line)}))
    seconds = {role.name: role.seconds for role in story.roles.values()}
    serve = seconds["vllm"]
    return Steps(whole, seconds["python_env"], seconds["model"], serve)


@contextmanager
def _box(place: Path, boxes: BoxFactory) -> Iterator[tuple[Gpubox, TestBox]]:
    """A new box on this machine's network, where the hub is, with its packages at hand."""
    place.mkdir()
    wishes = offline("controller", "vllm")
    wishes["network"] = "host"
    box = boxes(**wishes)
    tool = Gpubox(place)
    try:
        tool("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
        yield tool, box
    finally:
        tool.end()
        box.destroy()


if __name__ == "__main__":
    print(main())
