"""`up` on a box that is as it should be, against the same playbook over SSH, with mitogen, and pyinfra."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Cost, interleaved, run, table
from benchmarks.rented import ROOT, ansible_env, playbook_argv, rented

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import TestBox
    from e2e.cli import Gpubox

ROUND_TRIPS_MS = (0, 40)
GOAL = 5.0


def main(rounds: int = 3) -> str:
    """Measure, and give the section of the report."""
    parts = [
        (
            f"## `up` with nothing to do\n\nA converged test box; wall seconds, medians of {rounds} rounds in turn. "
            f"Goal: {GOAL:.0f} times faster than the best of the others at 40 ms.\n"
        )
    ]
    with rented() as (tool, box, line):
        tool("up", "mybox", "--no-tunnel")
        state = pyinfra_state(box, tool)
        cases: dict[str, Callable[[], Cost]] = {
            "`gpubox up`": lambda: run(tool.argv("up", "mybox", "--no-tunnel"), env=tool.env, cwd=tool.directory),
            "ansible-playbook, pipelining + ControlPersist": lambda: run(
                playbook_argv(), env=ansible_env(tool), cwd=ROOT
            ),
            "the same + mitogen": lambda: run(playbook_argv(), env=ansible_env(tool, mitogen=True), cwd=ROOT),
            "pyinfra, the same checks": lambda: pyinfra(tool, line.port, state),
        }
        for milliseconds in ROUND_TRIPS_MS:
            line.delay(milliseconds / 2000)
            for case in cases.values():
                case()  # connections, caches and bytecode are made before the clock runs
            parts.append(section(milliseconds, interleaved(cases, rounds)))
        line.delay(0)
        tool("down", "mybox", "--yes")
    return "\n".join(parts)


def section(milliseconds: int, costs: dict[str, Cost]) -> str:
    """The table of one round trip."""
    base = costs["`gpubox up`"]
    rows = [(n, f"{c.wall:.2f}", f"{c.wall / base.wall:.1f}", f"{c.cpu:.2f}") for n, c in costs.items()]
    best = min(cost.wall for name, cost in costs.items() if cost is not base)
    words = f"{best / base.wall:.1f} times faster than the best of the others."
    return f"Round trip {milliseconds} ms: {words}\n\n" + table(("way", "wall s", "ratio", "CPU s here"), rows)


def pyinfra(tool: Gpubox, port: int, state: Path) -> Cost:
    """pyinfra with the same connection settings and the checks in `state`."""
    home = tool.home / ".local/share/gpubox"
    env = {**tool.env, "GPUBOX_BENCH_STATE": str(state), "GPUBOX_BENCH_PORT": str(port), "GPUBOX_BENCH_HOME": str(home)}
    deploy = Path(__file__).parent / "pyinfra_deploy.py"
    inventory = Path(__file__).parent / "pyinfra_inventory.py"
    argv = [str(Path(sys.executable).parent.parent / "pyinfra" / "bin" / "pyinfra"), "-y", str(inventory), str(deploy)]
    return run(argv, env=env, cwd=tool.directory)


def pyinfra_state(box: TestBox, tool: Gpubox) -> Path:
    """What the playbook looks after on the box, as data: directories, files with their contents, services, URLs."""
    root = "/root/autodl-tmp/gpubox"
    look = f"cd {root} && find . -maxdepth 1 -mindepth 1 -type d; ls env.sh bin/* supervisor/*.conf services/*/*.json"
    lines = box.exec(look + "; true").stdout.split()
    directories = [f"{root}/{line[2:]}" for line in lines if line.startswith("./")]
    files = {f"{root}/{line}": box.read(f"{root}/{line}") for line in lines if not line.startswith("./")}
    files["/etc/profile.d/gpubox.sh"] = box.read("/etc/profile.d/gpubox.sh")
    services = [item["name"] for item in tool.json("status", "mybox")["services"]]
    path = tool.directory / "pyinfra-state.json"
    path.write_text(
        json.dumps({"root": root, "directories": directories, "files": files, "services": services, "port": 8000})
    )
    return path


if __name__ == "__main__":
    print(main())
