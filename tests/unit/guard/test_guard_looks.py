"""What the guard reads: processes, metrics, connections, GPUs; and what it sends."""

from __future__ import annotations

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from boxguard import ending, gpus, metrics, ollama, push, sessions
from boxguard.sessions import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from boxguard.settings import Settings

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="small gpt"} 2.0
vllm:num_requests_waiting{engine="0",model_name="small gpt"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="x"} 7.0
vllm:request_success_total{engine="0",finished_reason="stop"} 40.0
vllm:request_success_created{engine="0",finished_reason="stop"} 1.7e+09
vllm:prompt_tokens_total{engine="0"} 1000.0
vllm:kv_cache_usage_perc{engine="0"} NaN
http_requests_total{handler="/metrics",method="GET",status="2xx"} 912.0
process_cpu_seconds_total 12.5
"""


def row(pid: int, parent: int, name: str, command: str = "", *, terminal: int = -1, ours: bool = True) -> Row:
    return Row(pid, parent, name, command.split(), terminal, ours)


DAEMON = [row(1, 0, "boot.sh"), row(10, 1, "sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")]
PERSON = [row(20, 10, "sshd", "sshd: root@pts/0"), row(21, 20, "bash", "-bash", terminal=0)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(7, 6, "python")], None),
        # No server is to be seen: whoever has a terminal came in some other way.
        ([row(1, 0, "boot.sh")], 0),
        ([row(1, 0, "boot.sh"), row(5, 0, "bash", terminal=0), row(6, 5, "vim", terminal=0)], 1),
        (DAEMON, 0),
        ([*DAEMON, *PERSON], 1),
        ([*DAEMON, *PERSON, row(22, 21, "python", "python -s -P -m boxctl status")], 0),
        ([*DAEMON, *PERSON, row(22, 21, "python", "python -s -P -m boxctl logs vllm --follow")], 1),
        # A tunnel and a login that is not through yet.
        ([*DAEMON, row(30, 10, "sshd", "sshd: root@notty"), row(31, 10, "sshd", "sshd: [net]")], 0),
        ([*DAEMON, row(30, 10, "sshd", "sshd: root@notty"), row(31, 30, "rsync", "rsync --server")], 1),
        ([*DAEMON, row(30, 10, "sshd", "sshd: root@internal-sftp")], 1),
        # OpenSSH from 9.8 on.
        ([*DAEMON, row(20, 10, "sshd-session", "sshd-session: root@pts/0"), row(21, 20, "bash", "-bash")], 1),
        # What was left running in the background is no session.
        ([*DAEMON, row(40, 1, "python", "python train.py")], 0),
    ],
)
def test_sessions(rows: list[Row], expected: int | None) -> None:
    assert sessions.count(rows, "sshd") == expected


def test_sessions_of_a_local_box_are_its_own() -> None:
    server = "gpubox.providers.local_box"
    rows = [
        *DAEMON,
        *PERSON,
        row(50, 1, "python", f"python -m {server} /a 3"),
        row(51, 50, "bash", "-bash", terminal=7),
        row(52, 51, "sleep", "sleep 9", terminal=7),
        row(60, 1, "python", f"python -m {server} /b 3", ours=False),
        row(61, 60, "bash", "-bash", terminal=8),
    ]
    assert sessions.count(rows, server) == 1
    assert sessions.terminals(rows, server) == [7]


def test_metrics_of_vllm() -> None:
    assert metrics.parse(VLLM) == metrics.Engine(3, 1040.0)


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ('sglang:num_running_reqs{x="1"} 1\nsglang:num_queue_reqs 0.0\n', 1),
        ("llamacpp:requests_processing 0\nllamacpp:requests_deferred 2", 2),
        ("tgi_queue_size 0\ntgi_batch_current_size 4\n", 4),
    ],
)
def test_metrics_of_others(text: str, requests: int) -> None:
    engine = metrics.parse(text)
    assert engine is not None
    assert engine.requests == requests


@pytest.mark.parametrize("text", ["", "<!doctype html><title>web UI</title>", "process_cpu_seconds_total 12.5\n"])
def test_a_page_that_counts_no_requests_is_no_metrics(text: str) -> None:
    assert metrics.parse(text) is None


class Server(BaseHTTPRequestHandler):
    """Answers with what its class says, and keeps what it was sent."""

    answer: tuple[int, bytes] = (200, b"")
    got: list[tuple[str, dict[str, str], Any]]

    def do_GET(self) -> None:
        self._send()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, dict(self.headers), json.loads(body)))
        self._send()

    def _send(self) -> None:
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[type[Server], int]]:
    class Own(Server):
        got: list[tuple[str, dict[str, str], Any]] = []  # noqa: RUF012

    with HTTPServer(("127.0.0.1", 0), Own) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield Own, listening.server_port
        listening.shutdown()
        thread.join()


def test_asking_an_engine(server: tuple[type[Server], int]) -> None:
    kind, port = server
    url = f"http://127.0.0.1:{port}/metrics"
    kind.answer = (200, VLLM.encode())
    assert metrics.ask(url) == metrics.Engine(3, 1040.0)
    kind.answer = (404, VLLM.encode())
    assert metrics.ask(url) is None
    kind.answer = (503, b"")
    with pytest.raises(metrics.SilentError, match="503"):
        metrics.ask(url)


def test_an_engine_that_is_not_there_cannot_be_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(metrics.SilentError):
            metrics.ask(f"http://127.0.0.1:{free.getsockname()[1]}/metrics")


def test_open_connections_stand_for_requests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert metrics.connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0]:
            assert metrics.connections(port) == 1


def test_connections_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(metrics.SilentError):
        metrics.connections(8000, (str(tmp_path / "tcp"),))


def test_gpus() -> None:
    assert gpus.parse("0\n 37\n100\n") == [0, 37, 100]
    for text in ("[N/A]\n", "", "Unable to determine the device handle\n"):
        with pytest.raises(gpus.UnknownUseError):
            gpus.parse(text)


def test_a_box_without_gpu_devices_has_no_gpu(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    (tmp_path / "nvidia-caps").mkdir()
    assert gpus.use(tmp_path) == []
    (tmp_path / "nvidia0").touch()
    # A card, and nothing that could say what it does.
    with pytest.raises(gpus.UnknownUseError):
        gpus.use(tmp_path)


@pytest.mark.parametrize(
    ("script", "found"),
    [("echo ' 37'; echo 0", [37.0, 0.0]), ("echo No devices were found; exit 9", None), ("echo '[N/A]'", None)],
)
def test_asking_the_driver(
    script: str, found: list[float] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if found is not None:
        assert gpus.use(tmp_path) == found
        return
    with pytest.raises(gpus.UnknownUseError, match="nvidia-smi"):
        gpus.use(tmp_path)


@pytest.mark.parametrize(
    ("url", "address", "fields"),
    [
        ("schan://SCT1abc", "https://sctapi.ftqq.com/SCT1abc.send", {"title", "desp"}),
        ("wecombot://k-1", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k-1", {"msgtype", "text"}),
        ("feishu://t-1", "https://open.feishu.cn/open-apis/bot/v2/hook/t-1", {"msg_type", "content"}),
        ("tgram://12:ab/345/", "https://api.telegram.org/bot12:ab/sendMessage", {"chat_id", "text"}),
        ("jsons://me:pw@h/a?b=c", "https://h/a?b=c", {"version", "title", "message", "type"}),
        ("http://h:81/a", "http://h:81/a", {"version", "title", "message", "type"}),
    ],
)
def test_destinations(url: str, address: str, fields: set[str]) -> None:
    made = push.post(url, "t", "w")
    assert (made.url, set(made.body)) == (address, fields)


def test_a_destination_that_a_box_cannot_send_to_is_named_without_its_secret() -> None:
    with pytest.raises(push.PushError) as caught:
        push.push("slack://A/B/C-secret", "t", "w")
    assert "secret" not in str(caught.value)
    assert "`slack`" in str(caught.value)


def test_a_push_arrives_and_a_refusal_is_noticed(server: tuple[type[Server], int]) -> None:
    kind, port = server
    kind.answer = (200, b"ok")
    push.push(f"json://me:pw@127.0.0.1:{port}/hook?secret=s3", "title", "words")
    path, headers, body = kind.got[0]
    assert (path, body["title"], body["message"]) == ("/hook?secret=s3", "title", "words")
    assert headers["Authorization"] == "Basic bWU6cHc="
    for answer in [(200, b'{"errcode": 93000, "errmsg": "invalid webhook"}'), (403, b"")]:
        kind.answer = answer
        with pytest.raises(push.PushError) as caught:
            push.push(f"json://127.0.0.1:{port}/hook?secret=s3", "title", "words")
        assert "s3" not in str(caught.value)


def test_both_guards_mean_the_same_file() -> None:
    import yaml

    from gpubox.providers import first_guard
    from unit.guard.conftest import ROLES

    defaults = yaml.safe_load((ROLES / "guard/defaults/main.yml").read_text())
    assert defaults["guard_marker"] == first_guard.MARKER


@pytest.mark.parametrize(
    ("uid", "sudo", "told"),
    [
        (0, None, None),
        (1000, "exit 0", None),
        (1000, "echo sudo: a password is required >&2; exit 1", "ended with 1: sudo: a password is required"),
        (1000, None, "ended with 127"),
    ],
    ids=["root", "without a password", "with one", "no sudo"],
)
def test_whether_it_may_power_the_box_off(
    uid: int, sudo: str | None, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    from unit.guard.conftest import ROLES

    defaults = yaml.safe_load((ROLES / "guard/defaults/main.yml").read_text())
    usual = cast("Settings", SimpleNamespace(power_off=tuple(defaults["guard_power_off"])))
    if sudo is not None:
        (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
        (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    said = ending.powerless(usual)
    assert told in said if told and said else said is told
    # Whoever set a command of their own has seen to that.
    assert ending.powerless(cast("Settings", SimpleNamespace(power_off=("poweroff",)))) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"models": []}', None),
        ('{"models": [{"name": "a", "expires_at": "2026-08-09T10:00:00.123456789Z"}]}', 1786269600.123456789),
        (
            '{"models": [{"expires_at": "2026-08-09T18:00:00.5+08:00"}, {"expires_at": "2026-08-09T10:00:00Z"}]}',
            1786269600.5,
        ),
        # keep_alive -1: the longest time that Go can count.
        ('{"models": [{"expires_at": "2318-11-20T09:47:16.854775807Z"}]}', 11009728036.854776),
        ('{"models": [{"expires_at": "soon"}]}', None),
        ("<html>a web UI</html>", None),
    ],
)
def test_when_ollama_was_last_used(answer: str, expected: float | None) -> None:
    class Ps(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/ps" else 404)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Ps)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = ollama.last_use(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
    assert found == (expected if expected is None else pytest.approx(expected, abs=1e-3))


def test_nobody_there_is_nothing_to_compare() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert ollama.last_use(free.getsockname()[1]) is None
