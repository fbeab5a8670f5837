"""`gpubox bench NAME`: send the client, let it measure on the box, bring the records home, compute and show."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.bench import plot, table
from gpubox.bench.records import bring_home
from gpubox.bench.result import BenchResult, read
from gpubox.bench.summary import refuse_failures
from gpubox.errors import Failed, GpuboxError, LinkLost, Unreachable
from gpubox.places import box_of
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged, engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubox.converge.progress import Board, Step

JOB = "bench"
_POLL_S = 1.0
# The measurement goes on while the link is away.
_PATIENCE_S = 600.0
# Of the engine's own environment: where caches lie, and what it may not do. The key goes under the client's name.
_SHARED = ("XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "HF_HOME", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")


def run_bench(
    name: str,
    *,
    board: Board,
    levels: Sequence[int] = (1, 4, 8),
    requests: int = 24,
    input_len: int = 64,
    output_len: int = 32,
    seed: int = 1,
    results: Path | None = None,
    allow_failed: bool = False,
) -> BenchResult:
    """Measure the engine of the box `name`; lengths are in tokens, `requests` is per level.

    Everything goes to `<results>/<run>` (`./gpubox-results` by default): raw records, manifest, `summary.json`,
    `table.md`, `bench.png`. Raises `Failed` when the engine does not run, when the client fails, and, unless
    `allow_failed`, when any request failed (the records are kept).
    """
    record = converged(name)
    login, root = Login.of(record), record.root or ""
    run = f"bench-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    place = (results or Path("gpubox-results")).absolute() / run
    options = {
        "--levels": ",".join(str(level) for level in levels),
        "--requests": str(requests),
        "--input-len": str(input_len),
        "--output-len": str(output_len),
        "--seed": str(seed),
    }
    with board.step("measure") as step:
        with Host(login) as host:
            _start(host, name, root, run, options)
        _wait(login, root, step)
        bring_home(login, root, f"{root}/results/{run}", place)
        result = read(place)
        _write(result)
        step.say(_words(result))
    for remark in table.remarks(result):
        board.note(remark)
    if not allow_failed:
        refuse_failures(result.levels, where=str(place))
    return result


def _start(host: Host, name: str, root: str, run: str, options: dict[str, str]) -> None:
    boxctl = Boxctl(host, root)
    service = engine(boxctl.call("status", retry=True))
    if service is None or service["state"] != "running":
        state = "there is none" if service is None else f"it is {service['state']}"
        raise Failed(f"no engine runs on this box: {state}", where=name, hint=f"gpubox up {name}")
    if service["healthy"] is False:
        hint = f"gpubox logs {name} {service['name']}"
        raise Unreachable("the engine is still loading, or hangs", where=name, hint=hint)
    plain = service["name"] != "vllm"
    spec_file = shlex.quote(f"{root}/services/{service['name']}/service.json")
    spec: dict[str, Any] = json.loads(host.run(f"cat {spec_file}", retry=True).stdout)
    environment = {key: value for key, value in spec["env"].items() if key in _SHARED}
    if key := spec["env"].get("VLLM_API_KEY"):
        environment["OPENAI_API_KEY"] = key
    driver = f"{root}/cache/bench_driver.py"
    host.put(Path(__file__).with_name("driver.py"), driver)
    if plain:
        # vLLM's client is in vLLM's environment only; any Python runs the plain one.
        host.put(Path(__file__).with_name("plain.py"), f"{root}/cache/bench_plain.py")
        options = {**options, "--client": "plain"}
        box = box_of(name)
        if box is not None and box.served_names:
            options["--models"] = ",".join(box.served_names)
    python = f"{root}/controller/bin/python" if plain else spec["argv"][0]
    url = f"http://127.0.0.1:{service['port']}"
    flags = [word for pair in options.items() for word in pair]
    job = {
        "key": run,
        "argv": [python, driver, "--out", f"{root}/results/{run}", "--url", url, *flags],
        "env": environment,
        "precious": [f"{root}/results/{run}"],
        "description": "measures the engine",
    }
    boxctl.call("job", "start", JOB, stdin=json.dumps(job).encode())


def _wait(login: Login, root: str, step: Step) -> None:
    """Follow the job to its end; Ctrl-C ends it, since nobody would look at its figures."""
    try:
        job = _ended(login, root, step)
    except KeyboardInterrupt:
        step.say("ending the measurement on the box")
        with suppress(GpuboxError), Host(login) as host:
            Boxctl(host, root).call("job", "cancel", JOB)
        raise
    if job["state"] != "done":
        raise Failed(
            f"the measurement ended as `{job['state']}`: {job.get('last_error') or 'no reason given'}",
            where=login.name,
            hint=f"gpubox logs {login.name} {JOB}",
        )


def _ended(login: Login, root: str, step: Step) -> dict[str, Any]:
    lost_at: float | None = None
    with Host(login) as host:
        while True:
            try:
                status = Boxctl(host, root).call("status", retry=True)
                lost_at = None
                step.lost_link(None)
            except (LinkLost, Unreachable) as error:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > _PATIENCE_S:
                    raise
                step.lost_link(f"{error.message}; the measurement goes on on the box")
                time.sleep(_POLL_S)
                continue
            job: dict[str, Any] = next(item for item in status["jobs"] if item["name"] == JOB)
            if job["state"] != "running":
                return job
            step.say(_progress(job.get("progress") or {}))
            time.sleep(_POLL_S)


def _progress(progress: dict[str, Any]) -> str:
    label = str(progress.get("label") or "starting")
    if "done" in progress and progress.get("total"):
        return f"{label}: {progress['done']} of {progress['total']} {progress.get('unit', '')}".rstrip()
    return label


def _write(result: BenchResult) -> None:
    text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n"
    (result.results / "summary.json").write_text(text, encoding="utf-8")
    (result.results / "table.md").write_text(table.markdown(result), encoding="utf-8")
    plot.draw(result, result.results / "bench.png")


def _words(result: BenchResult) -> str:
    best = max(result.levels, key=lambda level: level.output_tokens_per_s)
    return f"up to {best.output_tokens_per_s:.0f} tokens/s, at concurrency {best.concurrency}"
