"""`gpubox_ready` against a real HTTP server: what counts as an answer, and when it gives up."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from broken_http import ANSWERS, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.ansible.conftest import Ansible

Reply = tuple[int, str]


def completion(content: str | None, **fields: str) -> Reply:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content, **fields}}]})


class Engine(ThreadingHTTPServer):
    """Answers with the given replies in turn; the last one again and again."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = {"path": self.path, "key": self.headers["Authorization"], **json.loads(body)}
        number = min(len(self.server.asked), len(self.server.replies) - 1)
        self.server.asked.append(request)
        status, text = self.server.replies[number]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def engine(*replies: Reply) -> Iterator[Engine]:
    with Engine(list(replies)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ready(ansible: Ansible, url: str, **arguments: object) -> dict[str, Any]:
    spec = {"root": str(ansible.root), "service": "vllm", "url": url, "model": "small-gpt", "timeout": 60}
    return {"gpubox_ready": {**spec, **arguments}}


def test_waits_for_content(ansible: Ansible) -> None:
    ansible.state("services", "vllm", state="starting", restarts=0)
    loading = (503, "loading")
    with engine(loading, (200, "not json"), completion(""), completion("我是小微。")) as server:
        # A proxy in the box's environment must not be asked for 127.0.0.1.
        ansible.environment["http_proxy"] = "http://127.0.0.1:9"
        result = ansible.results([ready(ansible, server.url, prompt="你是谁？", api_key="hunter2-key")])[0]
    assert result["ready"]
    assert not result["changed"]
    assert result["answer"] == "我是小微。"
    last = server.asked[-1]
    assert (last["path"], last["key"]) == ("/v1/chat/completions", "Bearer hunter2-key")
    assert (last["model"], last["temperature"], last["max_tokens"]) == ("small-gpt", 0, 16)
    assert last["messages"] == [{"role": "user", "content": "你是谁？"}]
    assert len(server.asked) == 4


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_an_engine_that_breaks_off_is_not_ready_yet(ansible: Ansible, answer: str) -> None:
    ansible.state("services", "vllm", state="running", restarts=0)
    with answering(ANSWERS[answer]) as url:
        said = ansible.results([ready(ansible, url, timeout=1)])[0]["msg"]
    assert "vllm" in said
    assert "Traceback" not in said
    assert "MODULE FAILURE" not in said


def test_reasoning_counts_as_an_answer(ansible: Ansible) -> None:
    ansible.state("services", "vllm", state="running", restarts=0)
    with engine(completion(None, reasoning_content="Let me think")) as server:
        assert ansible.results([ready(ansible, server.url)])[0]["answer"] == "Let me think"


def test_an_engine_that_answers_wrongly_is_not_ready(ansible: Ansible) -> None:
    ansible.state("services", "vllm", state="running", restarts=0)
    with engine(completion("Harbour!", reasoning_content="Box 17...")) as right, engine(completion("!!!!")) as wrong:
        wanted = {"expect": "harbour", "max_tokens": 512}
        good, bad = ansible.results([ready(ansible, right.url, **wanted), ready(ansible, wrong.url, **wanted)])
    assert good["ready"]
    assert right.asked[0]["max_tokens"] == 512
    assert "it answers, and wrongly: `harbour` is not in '!!!!'" in bad["msg"]
    assert len(wrong.asked) == 1


def test_gives_up_where_asking_again_is_no_use(ansible: Ansible) -> None:
    ansible.state("services", "vllm", state="running", restarts=0)
    with engine((401, "unauthorized")) as locked, engine((404, "no such model")) as empty:
        results = ansible.results([ready(ansible, locked.url), ready(ansible, empty.url), ready(ansible, "ftp://x")])
    assert "HTTP 401" in results[0]["msg"]
    assert "`api_key`" in results[0]["msg"]
    assert "HTTP 404: no such model" in results[1]["msg"]
    assert "no http address" in results[2]["msg"]
    assert (len(locked.asked), len(empty.asked)) == (1, 1)


def test_fails_at_once_with_the_last_lines_when_the_service_failed(ansible: Ansible) -> None:
    closed = "http://127.0.0.1:9"
    ansible.state("services", "vllm", state="failed", last_error="out of memory", exit_code=1, restarts=4)
    failed = ansible.results([ready(ansible, closed, timeout=600)])[0]
    assert "service `vllm` has failed: out of memory (exit code 1)" in failed["msg"]
    assert "last lines of its log:" in failed["msg"]
    assert failed["stderr"].splitlines()[-1] == "line 29 of vllm"

    ansible.state("services", "vllm", state="running", restarts=0)
    gone, late = ansible.results([ready(ansible, closed, service="other"), ready(ansible, closed, timeout=1)])
    assert "there is no service `other`" in gone["msg"]
    assert "gave no answer within 1 s: " in late["msg"]
    assert "refused" in late["msg"]


def test_check_mode_asks_once_and_never_fails(ansible: Ansible) -> None:
    with engine(completion("yes")) as server:
        asked, silent = ansible.results([ready(ansible, server.url), ready(ansible, "http://127.0.0.1:9")], "--check")
    assert (asked["ready"], silent["ready"]) == (True, False)
    assert len(server.asked) == 1
