"""vLLM with the role's environment: nothing is written into HOME, and the second start looks where the first compiled.

The CPU build of 0.32.0 finds it and cannot load it ("'function' object has no attribute 'finalize_loading'"), so only
torch's part of the cache helps there; the CUDA build has what is missed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import jinja2
import yaml

from e2e import test_vllm_options
from free_ports import free_port
from sim.tiny_model import tiny_model
from waits import until

ROLE = Path(__file__).resolve().parents[2] / "roles/vllm/vars/main.yml"
_LIMIT_S = 1200.0
environment = test_vllm_options.environment


def role_environment(root: Path) -> dict[str, str]:
    """The variables that the role sets whatever is served; those that only tell of revisions left out."""
    variables = yaml.safe_load(ROLE.read_text())["vllm_common_environment"]
    names = {name: text for name, text in variables.items() if not name.startswith("GPUBOX_")}
    return {name: jinja2.Template(text).render(vllm_root=str(root)) for name, text in names.items()}


def test_a_second_start_finds_the_caches_and_home_stays_empty(environment: Path, tmp_path: Path) -> None:
    python, home, root, model = (
        str(environment / "bin/python"),
        *(tmp_path / name for name in ("home", "root", "model")),
    )
    home.mkdir()
    tiny_model(model)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    env |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", **role_environment(root)}
    first, second = (start(python, model, env, tmp_path / f"log-{number}") for number in (1, 2))
    logging.info("start until it answered: %s", {"first": first, "second": second})
    assert [str(path) for path in home.rglob("*")] == []
    assert list((root / "cache/vllm/torch_compile_cache").rglob("*"))
    found = rf"(load failure|Directly load AOT compilation) from (path )?{re.escape(str(root))}/cache/vllm/"
    assert not re.search(found, (tmp_path / "log-1").read_text())
    assert re.search(found, (tmp_path / "log-2").read_text())


def start(python: str, model: Path, env: dict[str, str], log: Path) -> dict[str, float]:
    """Start, ask, stop. Seconds until it answered, and those in which it compiled and warmed up."""
    port, begun = free_port(), time.monotonic()
    argv = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--load-format", "dummy"]
    argv += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "256"]
    with log.open("w") as out:
        server = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        until(lambda: ended(server, log) or healthy(port), "vLLM", _LIMIT_S, pause=0.5)
        seconds = time.monotonic() - begun
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        answer: dict[str, Any] = httpx.post(
            f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=120, trust_env=False
        ).json()
        assert answer["usage"]["completion_tokens"] == 4, json.dumps(answer)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(60)
    return {"seconds": round(seconds, 1), "warm_up_s": warming_up(log.read_text())}


def warming_up(text: str) -> float:
    """vLLM's own figure, which compiling is the most of."""
    found = re.search(r"init engine \(.*warmup model\) took ([0-9.]+) s", text)
    assert found, text[-3000:]
    return float(found[1])


def ended(server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-3000:]
    return False


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
