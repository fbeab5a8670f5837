"""What runs on the box, up to where vLLM itself would be needed; the real one runs in the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from broken_http import ANSWERS, answering
from gpubox.bench import driver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Engine(ThreadingHTTPServer):
    """The parts of vLLM's API that the driver reads by itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key: str | None = None
        self.models: list[dict[str, Any]] = [{"id": "small", "root": "/models/small", "max_model_len": 128}]
        self.requests_done = [7]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        server = self.server
        if server.key and self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {server.key}":
            self.send_error(401)
            return
        done = server.requests_done[0]
        if self.path == "/metrics" and len(server.requests_done) > 1:
            server.requests_done.pop(0)
        body = {
            "/v1/models": json.dumps({"data": server.models}),
            "/version": '{"version": "0.32.0"}',
            "/metrics": (
                "# HELP vllm:request_success_total Count\n"
                f'vllm:request_success_total{{engine="0",finished_reason="length"}} {done}.0\n'
                'vllm:request_success_total{engine="0",finished_reason="stop"} 3.0\n'
                'vllm:request_success_created{engine="0"} 1.7e+09\n'
                f"vllm:prompt_tokens_total {done * 10}.0\n"
                f"vllm:generation_tokens_total {done * 5}.0\n"
                f'vllm:time_to_first_token_seconds_sum{{engine="0"}} {done / 10}\n'
            ),
        }.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)


def run(engine: Engine, out: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The driver as the box runs it, with a Python that has no vLLM."""
    return subprocess.run(
        [sys.executable, driver.__file__, "--out", str(out), "--url", engine.url, *flags],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_environment_without_the_client_is_a_sentence(engine: Engine, tmp_path: Path) -> None:
    progress = tmp_path / "progress.jsonl"
    done = run(engine, tmp_path / "out", GPUBOX_PROGRESS=str(progress))
    assert done.returncode == 1
    assert "error: vLLM's benchmark client cannot be imported: No module named 'vllm'" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(progress.read_text().splitlines()[0])["label"].startswith("import")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_lengths_that_do_not_fit_are_refused_before_vllm_is_loaded(engine: Engine, tmp_path: Path) -> None:
    done = run(engine, tmp_path / "out", "--input-len", "64", "--output-len", "64")
    assert done.returncode == 1
    assert "64 tokens in and 64 out do not fit into the model's 128" in done.stderr


def test_an_engine_that_wants_a_key(engine: Engine, tmp_path: Path) -> None:
    engine.key = "sk-very-secret"
    done = run(engine, tmp_path / "out")
    assert done.returncode == 1
    assert "the engine wants its key" in done.stderr
    done = run(engine, tmp_path / "out", OPENAI_API_KEY="sk-very-secret")
    assert "No module named 'vllm'" in done.stderr
    assert "sk-very-secret" not in done.stderr + done.stdout


def test_no_engine_and_no_model(engine: Engine, tmp_path: Path) -> None:
    engine.models = []
    done = run(engine, tmp_path / "out")
    assert "serves no model" in done.stderr
    engine.server_close()
    done = run(engine, tmp_path / "out")
    assert (done.returncode, "no engine answers" in done.stderr) == (1, True)


def test_a_proxy_is_not_asked_for_the_engine(engine: Engine, tmp_path: Path) -> None:
    done = run(engine, tmp_path / "out", http_proxy="http://127.0.0.1:1", no_proxy="")
    assert "No module named 'vllm'" in done.stderr


def test_counters_are_summed_over_labels_and_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    before = driver._counters(engine.url)
    assert before == {"requests": 10.0, "prompt_tokens": 70.0, "output_tokens": 35.0, "ttft_seconds": 0.7}
    engine.requests_done = [8, 9, 11]
    moved = driver._moved(engine.url, before, 4)
    assert moved == {"requests": 4.0, "prompt_tokens": 40.0, "output_tokens": 20.0, "ttft_seconds": 0.4}
    assert driver._moved(engine.url, None, 4) is None
    assert driver._counters(f"{engine.url}/elsewhere") is None


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_an_engine_that_breaks_off(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(ANSWERS[answer]) as url:
        with pytest.raises(driver.DriverError, match="no engine answers"):
            driver._get(f"{url}/v1/models")
        assert driver._counters(url) is None
        assert driver._version(url) is None
