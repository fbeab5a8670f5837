"""A model of 2 GB from the simulated hub: the role `model`'s program against `modelscope`, `hf` and `aria2c`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import table
from benchmarks.rented import ROOT
from sim.hub import HubFault, Made, as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Clients that want other versions of shared packages than gpubox has.
CLIENTS = ROOT / ".venv" / "downloads" / "bin"
REPO = "acme/model-2gb"
SHARDS, SHARD_MIB = 4, 480
RATE, TOTAL, CUT = 20e6, 100e6, 100_000_000
# A client that hangs is ended then.
LIMIT = 300.0
_MEMORY = Path("/dev/shm")
_NEEDS = 8 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """One download: seconds, what it ended with (None: it did not end), bytes sent more than once, all files right."""

    wall: float
    exit_code: int | None
    twice: int
    whole: bool


def main(shard_mib: int = SHARD_MIB) -> str:
    """Measure, and give the section of the report."""
    size = SHARDS * (shard_mib << 20)
    head = (
        f"## Download of a model\n\n{size / 1e9:.1f} GB in {SHARDS} files and their small ones, from the simulated hub "
        f"on this machine: {RATE / 1e6:.0f} MB/s for a connection and {TOTAL / 1e6:.0f} MB/s for all of them, so "
        f"{size / TOTAL:.0f} s at best; it ends a connection after {CUT / 1e6:.0f} MB. One run each, in turn, with "
        f"each tool's own settings (`aria2c -c -x16 -s16 -j4`, from the Hugging Face side); ended after {LIMIT:.0f} s. "
        "Whole: the SHA-256 of every file is right, compared after the run.\n"
    )
    parts = [head]
    for title, faults in _cases(shard_mib).items():
        rows = []
        own = 0.0
        with _hub(shard_mib) as hub:
            for name, argv in _ways(hub).items():
                outcome = _measured(hub, argv, faults, shard_mib)
                own = own or outcome.wall
                rows.append(_row(name, outcome, own))
        parts.append(f"{title}:\n\n" + table(("way", "wall s", "ratio", "sent twice", "ended", "whole"), rows))
    return "\n".join(parts)


def _cases(shard_mib: int) -> dict[str, list[HubFault]]:
    usual = [HubFault("slow", rate=RATE), HubFault("cut", size=CUT)]
    last = f"model-{SHARDS}.safetensors"
    stall = HubFault("stall", path="model-*.safetensors", share=0.99, times=1)
    wrong = HubFault("wrong", path=last, start=shard_mib << 19, size=1, times=1)
    return {
        "Slow connections and cuts": usual,
        "The same, and one file stops for ever at 99 % once": [*usual, stall],
        "The same as the first, and one byte of one file is wrong once": [*usual, wrong],
    }


def _ways(hub: _Hub) -> dict[str, list[str]]:
    spec = {
        "name": "model", "source": "modelscope", "id": REPO, "directory": str(hub.out / "model"),
        "modelscope_endpoint": hub.url, "huggingface_endpoint": hub.url, "huggingface_mirror": hub.url,
    }  # fmt: skip
    hub.env["GPUBOX_MODEL_SPEC"] = json.dumps(spec)
    ways = {
        "gpubox (role `model`)": [sys.executable, "-m", "model_fetch", "fetch"],
        "`modelscope download`": [str(CLIENTS / "modelscope"), "download", REPO, "--local-dir", str(hub.out / "model")],
        "`hf download`": [str(CLIENTS / "hf"), "download", REPO, "--local-dir", str(hub.out / "model")],
    }
    if aria2c := shutil.which("aria2c"):
        urls = hub.directory / "urls"
        lines = [f"{hub.url}/{REPO}/resolve/main/{path}\n  out={path}\n" for path in _files(1)]
        urls.write_text("".join(lines))
        into = str(hub.out / "model")
        options = ["-c", "-x16", "-s16", "-j4", "--console-log-level=error", "--summary-interval=0"]
        ways["`aria2c`"] = [aria2c, *options, "-d", into, "-i", str(urls)]
    return ways


@dataclass(slots=True)
class _Hub:
    url: str
    directory: Path
    out: Path
    env: dict[str, str]

    def call(self, verb: str, value: object = None) -> Any:  # noqa: ANN401  # JSON
        body = json.dumps(value).encode()
        with urllib.request.urlopen(f"{self.url}/_sim/{verb}", data=body, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def _hub(shard_mib: int) -> Iterator[_Hub]:
    """In a process of its own, as a hub is on another machine."""
    home = _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _NEEDS else None
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-", dir=home) as name:
        directory = Path(name)
        made = ",".join(f"{path}:{mib}" for path, mib in _files(shard_mib).items())
        argv = [sys.executable, "-m", "sim.hub", f"{REPO}={made}"]
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'roles' / 'model' / 'files'}"}
        child = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            hub = json.loads(child.stdout.readline())
            settings = {**hub, "HOME": name, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "GPUBOX_PROGRESS": f"{name}/progress"}
            yield _Hub(hub["HF_ENDPOINT"], directory, directory / "out", {**env, **settings})
        finally:
            child.communicate()


def _files(shard_mib: int) -> dict[str, int]:
    """Path to size in MiB."""
    shards = {f"model-{number}.safetensors": shard_mib for number in range(1, SHARDS + 1)}
    return {"config.json": 0, "tokenizer.json": 1, **shards}


def _measured(hub: _Hub, argv: list[str], faults: list[HubFault], shard_mib: int) -> Outcome:
    shutil.rmtree(hub.out, ignore_errors=True)
    hub.out.mkdir()
    hub.call("faults", [as_json(fault) for fault in faults])
    hub.call("total_rate", TOTAL)
    hub.call("forget")
    with (hub.directory / "log").open("w") as log:
        begun = time.monotonic()
        child = subprocess.Popen(argv, env=hub.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=hub.directory)
        code: int | None
        try:
            code = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = None
        wall = time.monotonic() - begun
    files = hub.call("counters")["files"]
    sizes = {path: mib << 20 for path, mib in _files(shard_mib).items()}
    sent = {path: sum(file["bytes"] for file in files if file["path"] == path) for path in sizes}
    twice = sum(max(0, sent[path] - size) for path, size in sizes.items())
    whole = all(_same(hub.out / "model" / path, sha256) for path, sha256 in _sums(shard_mib).items())
    if not whole:
        print((hub.directory / "log").read_text()[-1500:], file=sys.stderr)
    return Outcome(wall, code, twice, whole)


_KNOWN: dict[int, Mapping[str, str]] = {}


def _sums(shard_mib: int) -> Mapping[str, str]:
    if shard_mib not in _KNOWN:
        files = _files(shard_mib).items()
        _KNOWN[shard_mib] = {path: Made(seed, mib << 20).sha256 for seed, (path, mib) in enumerate(files)}
    return _KNOWN[shard_mib]


def _same(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _row(name: str, outcome: Outcome, own: float) -> tuple[str, ...]:
    ended = "not at all" if outcome.exit_code is None else f"exit {outcome.exit_code}"
    whole = "yes" if outcome.whole else "**no**"
    return name, f"{outcome.wall:.0f}", f"{outcome.wall / own:.1f}", f"{outcome.twice / 1e6:.0f} MB", ended, whole


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if sys.argv[1:] else SHARD_MIB))
