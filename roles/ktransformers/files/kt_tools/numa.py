"""How the memory of a running server lies on the NUMA nodes: a NUMA build that is none shows nowhere else.

The kernel's own count, as `numastat -p` shows it: /proc/<pid>/numa_maps.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

_PAGES = re.compile(r"\bN(\d+)=(\d+)")
_PAGE_SIZE = re.compile(r"\bkernelpagesize_kB=(\d+)")
_GIB = 2**30
# Libraries and buffers of some GiB lie where they lie.
_WORTH_SAYING = 8 * _GIB
# What upstream's reports call wrong is half of it, or all on one node (issues 634, 824 and 896).
_ALIKE = 0.6


def look(root: Path, service: str, nodes: list[int], *, copies: bool) -> str:
    """A sentence when the service's memory does not lie on all nodes alike; empty when it does, or cannot be seen."""
    done = subprocess.run([str(root / "bin" / "boxctl"), "status"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return ""
    found = (item for item in json.loads(done.stdout)["services"] if item["name"] == service)
    pid = next((item["pid"] for item in found), None)
    return verdict(spread(Path("/"), int(pid)), nodes, copies=copies) if pid else ""


def spread(root: Path, pid: int) -> dict[int, int]:
    """Bytes on each node, of a process and all below it."""
    total: dict[int, int] = {}
    for member in _family(root, pid):
        try:
            lines = (root / f"proc/{member}/numa_maps").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it has ended, or the kernel knows no NUMA
            continue
        for line in lines:
            size = _PAGE_SIZE.search(line)
            for node, pages in _PAGES.findall(line):
                total[int(node)] = total.get(int(node), 0) + int(pages) * int(size[1] if size else 4) * 1024
    return total


def verdict(seen: dict[int, int], nodes: list[int], *, copies: bool) -> str:
    """What there is to be said; `copies`: a NUMA build, which keeps the experts on every node."""
    sizes = {node: seen.get(node, 0) for node in nodes}
    most, least = max(sizes.values(), default=0), min(sizes.values(), default=0)
    if len(nodes) < 2 or most < _WORTH_SAYING or least >= _ALIKE * most:
        return ""
    shown = ", ".join(f"node {node} {size / _GIB:.0f} GiB" for node, size in sorted(sizes.items()))
    if copies:
        return (
            f"the NUMA nodes are not used alike ({shown}), although each should hold the experts: the threads of one "
            "read the other's memory. See in `gpubox logs NAME build-ktransformers` whether NUMA was built in"
        )
    return (
        f"the model's memory lies on the NUMA nodes unevenly ({shown}), and threads on the others read it from there: "
        "`ktransformers.use_numa: true` keeps a copy on each, where the memory is enough; else measure fewer threads"
    )


def _family(root: Path, pid: int) -> list[int]:
    below: dict[int, list[int]] = {}
    for place in (root / "proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold anything.
            fields = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        below.setdefault(int(fields[1]), []).append(int(place.name))
    found, todo = [], [pid]
    while todo:
        member = todo.pop()
        found.append(member)
        todo += below.get(member, [])
    return found
