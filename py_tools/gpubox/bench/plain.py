"""Runs on the box beside `driver.py`: a small benchmark client for engines that vLLM's client cannot measure.

That one wants a tokenizer as Hugging Face writes it, and asks engines to go on beyond the end of an answer; Ollama has
neither. This one counts tokens as the engine itself does (`usage`), and takes answers as long as they come. It has the
face of `vllm.benchmarks.serve` that the driver uses, and writes the same record. Standard library only.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

# Engines on a CPU read a prompt for minutes before the first token.
_SILENCE_S = 600.0
_WORDS = (
    "river", "stone", "cloud", "machine", "garden", "window", "letter", "music", "winter", "paper", "bridge", "forest",
    "mountain", "signal", "market", "engine", "silver", "island", "shadow", "village", "harbour", "kitchen", "meadow",
)  # fmt: skip


class tqdm:  # noqa: N801 - the driver puts its own in this place, as into vLLM's client
    """Hears of every request that ends."""

    def __init__(self, total: int = 0, **_: object) -> None:
        """Nothing is shown."""

    def update(self, count: int = 1) -> None:
        """One more."""

    def close(self) -> None:
        """All have ended."""


def add_cli_args(parser: argparse.ArgumentParser) -> None:
    """Those of vLLM's client that mean something here; the others are taken and left."""
    for name in ("--model", "--base-url", "--result-dir", "--result-filename"):
        parser.add_argument(name)
    for name in ("--random-input-len", "--random-output-len", "--num-prompts", "--max-concurrency", "--seed"):
        parser.add_argument(name, type=int)
    for name in ("--backend", "--endpoint", "--tokenizer", "--dataset-name", "--temperature", "--request-rate"):
        parser.add_argument(name)
    for name in ("--percentile-metrics", "--metric-percentiles"):
        parser.add_argument(name)
    for name in ("--ignore-eos", "--save-detailed", "--save-result"):
        parser.add_argument(name, action="store_true")


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Ask `num_prompts` questions, `max_concurrency` at once; the record of every request, in vLLM's columns."""
    prompts = list(_prompts(options.num_prompts, options.random_input_len, options.seed))
    rows: list[dict[str, Any]] = [{} for _ in prompts]
    waiting, lock, bar = iter(range(len(prompts))), threading.Lock(), tqdm(total=len(prompts))

    def work() -> None:
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            rows[number] = _ask(options, prompts[number])
            with lock:
                bar.update()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(options.max_concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()
    record: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    record["completed"] = sum(not row["errors"] for row in rows)
    if options.save_result:
        path = Path(options.result_dir) / options.result_filename
        path.write_text(json.dumps(record), encoding="utf-8")
    return record


def _prompts(number: int, length: int, seed: int) -> Iterator[str]:
    """Each begins otherwise, so that no engine has it in its cache; about one token a word."""
    source = random.Random(seed)  # noqa: S311 - nothing secret
    for _ in range(number):
        words = " ".join(source.choice(_WORDS) for _ in range(max(1, length - 12)))
        yield f"{words}\nWrite a long story with these words, at least a thousand words long."


def _ask(options: argparse.Namespace, prompt: str) -> dict[str, Any]:
    begun = time.perf_counter()
    row = {
        "start_times": begun,
        "ttfts": 0.0,
        "latencies": 0.0,
        "input_lens": 0,
        "output_lens": 0,
        "itls": [],
        "errors": "",
    }
    try:
        usage, moments = _stream(options, prompt)
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        return {**row, "latencies": time.perf_counter() - begun, "errors": str(error) or type(error).__name__}
    if not moments or not usage:
        return {**row, "errors": "the engine sent no answer" if usage else "the engine did not count its tokens"}
    return {
        **row,
        "ttfts": moments[0] - begun,
        "latencies": moments[-1] - begun,
        "input_lens": int(usage["prompt_tokens"]),
        "output_lens": int(usage["completion_tokens"]),
        "itls": [after - before for before, after in itertools.pairwise(moments)],
    }


def _stream(options: argparse.Namespace, prompt: str) -> tuple[dict[str, Any], list[float]]:
    """The engine's count of tokens, and the moment of every piece, reasoning too."""
    body = {
        "model": options.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": options.random_output_len,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(urlsplit(options.base_url).netloc, timeout=_SILENCE_S)
    usage: dict[str, Any] = {}
    moments = []
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}: {answer.read(300).decode('utf-8', 'replace')}")
        while line := answer.readline():
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            delta = (event.get("choices") or [{}])[0].get("delta") or {}
            if any(delta.get(field) for field in ("content", "reasoning", "reasoning_content")):
                moments.append(time.perf_counter())
    finally:
        connection.close()
    return usage, moments
