"""Services: kept up, ended whole, and told from crash loops."""

from __future__ import annotations

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unit.boxctl.root import alive
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unit.boxctl.root import Root

    Spec = Callable[..., dict[str, Any]]


def _up(root: Root, name: str) -> None:
    until(lambda: root.service(name)["state"] == "running")


def test_apply_starts_once_and_restarts_when_the_spec_changes(root: Root, spec: Spec) -> None:
    first = spec("exec sleep 1000", start_seconds=1, description="sleeps", port=1234)
    assert root.boxctl("service", "apply", "web", "--check", stdin=first)["changed"]
    assert root.boxctl("status")["services"] == []
    assert root.boxctl("service", "apply", "web", stdin=first)["changed"]
    _up(root, "web")
    seen = root.service("web")
    assert (seen["description"], seen["port"], seen["healthy"], seen["exit_code"]) == ("sleeps", 1234, None, None)
    assert not root.boxctl("service", "apply", "web", stdin=first)["changed"]
    assert root.service("web")["pid"] == seen["pid"]
    other = {**first, "env": {"SECRET": "x"}}
    answer = root.boxctl("service", "apply", "web", stdin=other)
    assert answer["changed"]
    assert answer["diff"]["after"]["env"] == {"SECRET": "(hidden)"}
    assert root.service("web")["pid"] != seen["pid"]
    assert not alive(seen["pid"])


def test_stop_start_restart_and_remove(root: Root, spec: Spec) -> None:
    root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    first = root.service("web")["pid"]
    assert root.boxctl("service", "stop", "web")["changed"]
    assert not alive(first)
    assert root.service("web")["state"] == "stopped"
    assert not root.boxctl("service", "stop", "web")["changed"]
    assert root.boxctl("service", "start", "web")["changed"]
    assert not root.boxctl("service", "start", "web")["changed"]
    second = root.service("web")["pid"]
    assert root.boxctl("service", "restart", "web")["changed"]
    assert root.service("web")["pid"] != second
    assert root.boxctl("service", "remove", "web")["changed"]
    assert not root.boxctl("service", "remove", "web")["changed"]
    assert root.boxctl("status")["services"] == []
    assert "no service" in root.boxctl("service", "start", "web", code=1)["error"]


def test_a_killed_service_comes_back_and_says_why(root: Root, spec: Spec) -> None:
    root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0))
    until(lambda: root.service("web")["pid"])
    first = root.service("web")["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: root.service("web")["pid"] not in {None, first})
    until(lambda: root.service("web")["state"] == "running")
    seen = root.service("web")
    assert (seen["restarts"], seen["exit_code"]) == (1, 128 + signal.SIGKILL)


@pytest.mark.parametrize("launcher", ["", "setsid "], ids=["in its group", "in its own session"])
def test_what_a_dead_service_leaves_behind_is_ended(root: Root, spec: Spec, tmp_path: Path, launcher: str) -> None:
    script = f"trap '' TERM; {launcher}sleep 1000 & echo $! > {tmp_path}/child.$$; exec sleep 1001"
    root.boxctl("service", "apply", "web", stdin=spec(script, start_seconds=0, stop_seconds=1))
    until(lambda: root.service("web")["pid"] and list(tmp_path.glob("child.*")))
    first = root.service("web")["pid"]
    child = int((tmp_path / f"child.{first}").read_text())
    os.kill(first, signal.SIGKILL)
    until(lambda: root.service("web")["pid"] not in {None, first})
    assert not alive(child)


def test_stop_ends_what_ignores_term(root: Root, spec: Spec, tmp_path: Path) -> None:
    script = (
        f"setsid sh -c \"trap '' TERM; echo \\$\\$ > {tmp_path}/child; while :; do sleep 1; done\" & exec sleep 1001"
    )
    root.boxctl("service", "apply", "web", stdin=spec(script, start_seconds=0, stop_seconds=1))
    until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    root.boxctl("service", "stop", "web")
    assert not alive(int((tmp_path / "child").read_text()))


def test_a_killed_supervisord_comes_back_with_its_services(root: Root, spec: Spec, tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child.$$; exec sleep 1001"
    root.boxctl("service", "apply", "web", stdin=spec(script, start_seconds=0))
    until(lambda: root.service("web")["pid"] and list(tmp_path.glob("child.*")))
    old = root.supervisord()
    first = root.service("web")["pid"]
    child = int((tmp_path / f"child.{first}").read_text())
    os.kill(old, signal.SIGKILL)
    until(lambda: root.supervisord() != old and root.service("web")["state"] == "running")
    assert root.service("web")["pid"] not in {None, first}
    assert not alive(first)
    assert not alive(child)
    # It was not the service's own doing.
    assert root.service("web")["exit_code"] is None


@pytest.mark.parametrize("start_seconds", [0, 2], ids=["that starts each time", "that never starts"])
def test_a_crash_loop_has_failed(root: Root, spec: Spec, start_seconds: int) -> None:
    script = "echo loading; echo 'RuntimeError: CUDA out of memory' >&2; echo bye; exit 3"
    root.boxctl("service", "apply", "bad", stdin=spec(script, start_seconds=start_seconds))
    until(lambda: root.service("bad")["state"] == "failed")
    seen = root.service("bad")
    assert (seen["exit_code"], seen["last_error"]) == (3, "RuntimeError: CUDA out of memory")
    # Mending it is believed.
    root.boxctl("service", "apply", "bad", stdin=spec("exec sleep 1000", start_seconds=0))
    _up(root, "bad")
    assert root.service("bad")["last_error"] is None
    assert root.service("bad")["exit_code"] is None


def test_a_program_that_is_not_there(root: Root) -> None:
    root.boxctl("service", "apply", "bad", stdin={"argv": ["/nowhere/vllm"], "start_seconds": 1})
    until(lambda: root.service("bad")["state"] == "failed")
    assert "cannot run `/nowhere/vllm`" in root.service("bad")["last_error"]
    assert root.service("bad")["exit_code"] == 127


def test_no_secret_in_arguments_or_configuration(root: Root, spec: Spec) -> None:
    secret = "sk-very-secret"
    root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", env={"KEY": secret}, start_seconds=0))
    root.boxctl("job", "start", "work", stdin={"key": "1", "argv": ["sleep", "1000"], "env": {"KEY": secret}})
    until(lambda: root.service("web")["pid"])
    for path in (root.path / "supervisor").rglob("*"):
        if path.is_file():
            assert secret not in path.read_text(errors="replace"), path
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in place.read_bytes()
        except OSError:
            continue
    for path in (root.path / "services/web/service.json", root.path / "jobs/work/job.json"):
        assert path.stat().st_mode & 0o077 == 0
    environ = Path(f"/proc/{root.service('web')['pid']}/environ").read_bytes()
    assert f"KEY={secret}".encode() in environ.split(b"\0")


def test_the_login_s_secrets_do_not_get_into_services(
    own_root: Root, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-login")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    own_root.boxctl("boot")
    own_root.boxctl("service", "apply", "web", stdin=spec("env; exec sleep 1000", start_seconds=0))
    until(lambda: "GPUBOX_SERVICE=web" in own_root.run("logs", "web").stdout)
    words = own_root.run("logs", "web").stdout
    assert "AWS_SECRET_ACCESS_KEY" not in words
    assert "PYTHONPATH" not in words
    assert "PIP_INDEX_URL=http://127.0.0.1:9/simple" in words


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Answer(BaseHTTPRequestHandler):
        code = 200

        def do_GET(self) -> None:
            self.send_response(self.code)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    served = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def test_health_is_asked(root: Root, spec: Spec, server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = f"http://127.0.0.1:{server.server_port}/health"
    root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0, health_url=url))
    until(lambda: root.service("web")["healthy"] is True)
    server.RequestHandlerClass.code = 503  # type: ignore[attr-defined]
    assert root.service("web")["healthy"] is False


def test_a_service_that_never_answers_costs_no_more_than_its_timeout(root: Root, spec: Spec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        root.boxctl("service", "apply", "web", stdin=spec("exec sleep 1000", start_seconds=0, health_url=url))
        assert root.service("web")["healthy"] is False


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"argv": ["x"], "enviroment": {}}, "`enviroment` is unknown"),
        ({"argv": []}, "`argv` is missing"),
        ({"argv": "sleep 1"}, "`argv` has to be a list of texts"),
        ({"argv": ["x"], "env": {"A": 1}}, "`env` has to map names to texts"),
        ({"argv": ["x"], "port": "80"}, "`port` has to be a whole number"),
        ("{", "is no JSON"),
    ],
)
def test_a_wrong_spec_is_refused(root: Root, given: object, words: str) -> None:
    assert words in root.boxctl("service", "apply", "web", stdin=given, code=2)["error"]


def test_a_name_that_is_a_path_is_refused(root: Root) -> None:
    assert "cannot be a name" in root.boxctl("service", "stop", "../../etc", code=2)["error"]
