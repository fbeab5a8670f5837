"""`gpubox`'s tunnel against plain `ssh -L` and no tunnel at all: streams of tokens, small requests, a file."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import tunnel_load
from benchmarks.measure import table
from benchmarks.rented import ROOT, BoxFactory, Gpubox
from gpubox.ledger import Ledger
from gpubox.remote.login import Login
from gpubox.remote.tunnel import Forward, open_tunnels, stop_tunnels

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 7
GOAL = 1.05
_OURS, _PLAIN, _DIRECT = "`gpubox`", "`ssh -L`", "no tunnel"
_UP_SECONDS = 30.0
# What is measured, and its unit.
_STREAMS = f"{tunnel_load.STREAMS} streams, s"
_P50, _P99 = "age of a token, p50 ms", "p99 ms"
_KEPT, _NEW, _FILE = "1,000 requests, one connection, s", "a connection each, s", "200 MB, s"


def main(rounds: int = ROUNDS) -> str:
    """Measure, and give the section of the report."""
    with _ways() as ports:
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
        for port in ports.values():
            _round(port)  # what is made at the first use is made before the clock runs
        for number in range(rounds):
            # Each way is first, second and last equally often.
            turn = list(ports)[number % len(ports) :] + list(ports)[: number % len(ports)]
            for name in turn:
                seen[name].append(_round(ports[name]))
    return _section(seen, rounds)


@contextmanager
def _ways() -> Iterator[dict[str, int]]:
    """The ports behind which one and the same server is reached, by the way there."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory, BoxFactory() as boxes, _server() as served:
        tool = Gpubox(Path(directory))
        # The tunnel is opened by this process.
        os.environ["GPUBOX_HOME"] = str(tool.home / ".local" / "share" / "gpubox")
        try:
            # With this machine's network: without a tunnel the server has to be reached, too.
            box = boxes(network="host")
            tool("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
            with Ledger() as ledger:
                login = Login.of(ledger.get("mybox"))
            forward = Forward(_free_port(), served, "measured")
            ours = open_tunnels(login, [forward], detach=True).wait_connected(_UP_SECONDS).forwards[0].local_port
            with _plain(login, Path(directory), served) as plain:
                yield {_OURS: ours, _PLAIN: plain, _DIRECT: served}
        finally:
            stop_tunnels("mybox")
            del os.environ["GPUBOX_HOME"]
            tool.end()


@contextmanager
def _server() -> Iterator[int]:
    argv = [sys.executable, "-m", "benchmarks.tunnel_load"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


@contextmanager
def _plain(login: Login, directory: Path, served: int) -> Iterator[int]:
    """`ssh -L` as a person types it: no option but those that name the key and the host."""
    known = directory / "known_hosts"
    endpoint = login.endpoint
    known.write_text(f"[{endpoint.host}]:{endpoint.port} {login.host_key}\n")
    port = _free_port()
    argv = ["ssh", "-F", "/dev/null", "-i", str(login.identity_file), "-o", f"UserKnownHostsFile={known}"]
    argv += ["-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{served}", "-p", str(endpoint.port)]
    with subprocess.Popen([*argv, f"{endpoint.user}@{endpoint.host}"], stdin=subprocess.DEVNULL) as ssh:
        try:
            deadline = time.monotonic() + _UP_SECONDS
            while not _answers(port):
                if ssh.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(argv)}: no tunnel (exit code {ssh.returncode})")
                time.sleep(0.05)
            yield port
        finally:
            ssh.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _round(port: int) -> dict[str, float]:
    streams = tunnel_load.streams(port)
    return {
        _STREAMS: streams.seconds,
        _P50: streams.p50,
        _P99: streams.p99,
        _KEPT: tunnel_load.requests(port, new_connections=False),
        _NEW: tunnel_load.requests(port, new_connections=True),
        _FILE: tunnel_load.download(port),
    }


def _section(seen: dict[str, list[dict[str, float]]], rounds: int) -> str:
    def middle(name: str, what: str) -> float:
        return statistics.median(each[what] for each in seen[name])

    kinds = list(seen[_OURS][0])
    rows = [[name, *(f"{middle(name, what):.3g}" for what in kinds)] for name in seen]
    ratios = {what: middle(_OURS, what) / middle(_PLAIN, what) for what in kinds}
    rows.append([f"{_OURS} / {_PLAIN}", *(f"{ratio:.2f}" for ratio in ratios.values())])
    over = [what for what, ratio in ratios.items() if ratio > GOAL]
    verdict = f"The goal is missed for: {'; '.join(over)}." if over else "The goal is met."
    return (
        f"## What the tunnel costs\n\n{tunnel_load.STREAMS} streams at once of {tunnel_load.TOKENS} tokens, one every "
        f"{tunnel_load.EVERY * 1000:.0f} ms; {tunnel_load.REQUESTS:,} small requests one after another; a file. "
        f"Medians of {rounds} rounds in turn; client, server and both ends of SSH share the cores. Goal: at most "
        f"{GOAL - 1:.0%} over {_PLAIN}. {verdict}\n\n" + table(["", *kinds], rows)
    )


if __name__ == "__main__":
    print(main())
