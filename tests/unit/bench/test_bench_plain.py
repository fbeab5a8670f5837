"""The plain client against a (simulated) Ollama: records as from vLLM's client, tokens as the engine counts them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from free_ports import free_port
from gpubox.bench import driver, plain
from gpubox.bench.result import read
from gpubox.bench.summary import refuse_failures
from gpubox.errors import Failed
from sim import ollama
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    (tmp_path / "plan.json").write_text('{"models": {}}')
    manifest = tmp_path / "models/manifests/registry.ollama.ai/library/tiny/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OLLAMA_MODELS": str(tmp_path / "models"),
        "OLLAMA_SIM": str(tmp_path / "plan.json"),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
    }
    program = Path(ollama.__file__).with_name("program.py")
    server = subprocess.Popen([sys.executable, str(program), "serve"], env=env, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/api/version"), "Ollama")
        yield url
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run(place: Path, url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """As on the box: two files beside each other, and a Python without vLLM."""
    shutil.copy(driver.__file__, place / "bench_driver.py")
    shutil.copy(plain.__file__, place / "bench_plain.py")
    argv = [sys.executable, str(place / "bench_driver.py"), "--out", str(place / "out"), "--url", url, *flags]
    return subprocess.run([*argv, "--client", "plain"], capture_output=True, text=True, timeout=120, check=False)


def test_an_engine_that_is_not_vllm_is_measured(url: str, tmp_path: Path) -> None:
    done = run(tmp_path, url, "--levels", "1,3", "--requests", "5", "--output-len", "32", "--models", "gone,tiny")
    assert done.returncode == 0, done.stderr
    result = read(tmp_path / "out")
    assert (result.model, [level.concurrency for level in result.levels]) == ("tiny:latest", [1, 3])
    for level in result.levels:
        # Two tokens a reply and three a prompt, says the engine; it ends answers when it likes.
        assert (level.requests, level.failed, level.output_tokens, level.input_tokens) == (5, 0, 10, 15)
        assert level.ttft_ms is not None
        assert level.e2e_ms is not None
        assert 0 < level.ttft_ms.p50 <= level.e2e_ms.p50
        assert level.server == "unknown"
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["engine"]["version"], manifest["client"], manifest["exact"]) == (
        "0.32.7",
        {"name": "gpubox"},
        False,
    )


def test_requests_that_fail_are_failures(url: str, tmp_path: Path) -> None:
    options = ["--model", "gone", "--base-url", url, "--random-input-len", "8", "--random-output-len", "4"]
    parser = driver._parser(plain)
    plain.add_cli_args(parser)
    record = plain.main(parser.parse_args([*options, "--num-prompts", "2", "--max-concurrency", "2", "--seed", "1"]))
    assert record["completed"] == 0
    assert 'HTTP 404: {"error"' in record["errors"][0]
    (tmp_path / "c2.json").write_text(json.dumps(record))
    entry = {"concurrency": 2, "file": "c2.json", "server": None}
    manifest = {
        "run": "r", "engine": {"model": "gone"}, "input_len": 8, "output_len": 4, "levels": [entry], "exact": False,
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Failed, match="2 of 2 requests at concurrency 2 failed: HTTP 404"):
        refuse_failures(read(tmp_path).levels, where="here")


def test_no_two_prompts_begin_alike() -> None:
    prompts = list(plain._prompts(200, 64, 1))
    assert len({prompt[:60] for prompt in prompts}) == 200
    assert list(plain._prompts(200, 64, 1)) == prompts
