"""The hub by hand, and for a benchmark: prints one JSON line with the variables to set, ends with its stdin."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sim.hub.content import Made, Repo, repo
from sim.hub.faults import HubFaults
from sim.hub.server import hub


def main() -> None:
    """Serve until stdin is closed."""
    parser = argparse.ArgumentParser(prog="python -m sim.hub", description=__doc__)
    parser.add_argument(
        "repos",
        nargs="+",
        metavar="OWNER/NAME=PLACE",
        help="a directory; or FILE:MiB[,FILE:MiB...], files that are made up: a/b=model.safetensors:512,config.json:1",
    )
    parser.add_argument("--port", type=int, default=0, help="left out: any free one")
    parser.add_argument("--rate", type=float, default=0.0, help="MB a second of one connection")
    parser.add_argument("--total-rate", type=float, default=0.0, help="MB a second of all connections together")
    parser.add_argument("--cut", type=float, default=0.0, help="end each connection after so many MB")
    parser.add_argument(
        "--stall", type=float, help="send nothing from this share of a file on, as in 0.99; once a file"
    )
    parser.add_argument("--range-status", type=int, default=200, help="how ModelScope answers a range; 206 as RFC 9110")
    options = parser.parse_args()
    faults = HubFaults(total_rate=options.total_rate * 1e6)
    if options.rate:
        faults.slow(options.rate * 1e6)
    if options.cut:
        faults.cut(int(options.cut * 1e6))
    repos = dict(_repo(word) for word in options.repos)
    if options.stall is not None:
        for path in {path for each in repos.values() for path in each.commits[-1].files}:
            faults.stall(options.stall, path=path, times=1)
    with hub(repos, faults, range_status=options.range_status, port=options.port) as server:
        sys.stdout.write(json.dumps(server.environment) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def _repo(word: str) -> tuple[str, Repo]:
    name, _, place = word.partition("=")
    if Path(place).is_dir():
        return name, repo(Path(place))
    sizes = (each.rpartition(":")[::2] for each in place.split(","))
    files = {path: Made(seed, int(mib) << 20) for seed, (path, mib) in enumerate(sizes)}
    return name, repo(files)


if __name__ == "__main__":
    main()
