"""The web UI from the box file: `up` ends with its link, `open` finds it again, and what goes wrong is said."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.argv import Argvs
from free_ports import free_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

ENGINE = Path(__file__).resolve().parents[1] / "box/standin_engine.py"
ROOT = "/root/autodl-tmp/gpubox"
KEY, OTHER_KEY = "hunter2-engine-key", "hunter2-other-key"
BOX_FILE = """
provider: attach
engine: vllm
model: small-gpt
vllm: {{build: cpu, max_model_len: 1024, enforce_eager: true, cpu_kvcache_space: 1, api_key: ENGINE_KEY}}
web_ui:
  port: {port}
  admin_email: me@example.com
  engines:
    - {{url: "http://127.0.0.1:8001/v1", api_key: OTHER_KEY}}
agents:
  - name: 小箱助手
    system_prompt: 你是小箱。
    parameters: {{temperature: 0}}
"""


@pytest.mark.timeout(2400)
def test_a_web_ui_from_box_file_to_sign_in(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes]) -> None:
    box = boxes(**offline("controller", "small_gpt", "vllm", "open_webui"))
    gpubox.env |= {"ENGINE_KEY": KEY, "OTHER_KEY": OTHER_KEY}
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    port = free_run(4)
    gpubox.box_file("mybox", BOX_FILE.format(port=port))
    box.write("/root/engine.py", ENGINE.read_text())
    other = f"python3 /root/engine.py 8001 {OTHER_KEY} /root/asked.jsonl other-model"
    box.exec(f"setsid {other} </dev/null >/dev/null 2>&1 &")

    # The port is somebody's here: the next one is taken, and the link says so.
    with socket.create_server(("127.0.0.1", port)), Argvs() as argvs:
        up = gpubox("up", "mybox")
    url = f"http://localhost:{port + 1}"
    assert f"open-webui: {url}" in up.stdout
    assert "sign in as me@example.com; `gpubox open mybox --show-password`" in up.stderr
    assert "the web UI runs on the box" in up.stderr
    found = gpubox.json("open", "mybox", "--no-browser", "--show-password")
    assert (found["url"], found["email"], found["on"]) == (url, "me@example.com", "box")
    password = found["password"]
    plain = gpubox("open", "mybox", "--no-browser")
    assert (plain.stdout, password in plain.stderr) == (f"{url}\n", False)
    assert password not in up.stdout + up.stderr

    ui = Ui(port + 1)
    ui.sign_in("me@example.com", password)
    assert ui.models() == {"small-gpt", "other-model", "小箱助手"}
    assert ui.ask("GET", "/api/v1/models/model?id=%E5%B0%8F%E7%AE%B1%E5%8A%A9%E6%89%8B")["base_model_id"] == "small-gpt"
    assert "小箱" in ui.chat("小箱助手", "你是谁？")

    # Without its key the engine says nothing; no secret was ever in a command line, a log or an open file.
    assert box.exec("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/v1/models").stdout == "401"
    secret_key = box.exec(f"cat {ROOT}/open-webui/secret-key").stdout.strip()
    secrets = (KEY, password, secret_key)
    assert argvs.text
    assert not [line for line in argvs.text.splitlines() if any(secret in line for secret in secrets)]
    _no_secret_lies_open(box, gpubox, secrets)
    _only_loopback(box)

    again = gpubox.json("up", "mybox")
    assert (again["changed"], again["web_ui"]["url"]) == (False, url)
    assert "changed)" not in gpubox("up", "mybox", "--full").stderr

    _another_password(gpubox, ui, password)
    _an_engine_that_is_down(gpubox, box)
    _without_it_chats_stay(gpubox, box)


def _another_password(gpubox: Gpubox, ui: Ui, password: str) -> None:
    """It was changed in the web UI: `up` says so, and how to mend it."""
    ui.ask("POST", "/api/v1/auths/update/password", {"password": password, "new_password": "hunter3-by-hand"})
    failed = gpubox("up", "mybox", "--full", code=1)
    assert "does not let `me@example.com` in" in failed.stderr
    assert "`gpubox open mybox --set-password`, then `gpubox up mybox`" in failed.stderr
    wrong = gpubox("open", "mybox", "--set-password", stdin="not-this-one\n", code=4)
    assert "with this password, so it is not kept" in wrong.stderr
    gpubox("open", "mybox", "--set-password", stdin="hunter3-by-hand\n")
    assert gpubox("open", "mybox", "--no-browser", "--show-password").stdout.splitlines()[1] == "hunter3-by-hand"
    mended = gpubox("up", "mybox")
    assert "hunter3" not in mended.stdout + mended.stderr


def _an_engine_that_is_down(gpubox: Gpubox, box: TestBox) -> None:
    box.exec(f"{ROOT}/bin/boxctl service stop vllm")
    assert "the engine `vllm` is stopped and does not answer" in gpubox("open", "mybox", "--no-browser").stderr
    shown = gpubox("status", "mybox").stdout
    assert "stopped" in next(line for line in shown.splitlines() if line.lstrip().startswith("vllm"))
    box.exec(f"{ROOT}/bin/boxctl service stop open-webui")
    failed = gpubox("open", "mybox", "--no-browser", code=1)
    assert "the web UI is stopped" in failed.stderr
    assert "`gpubox up mybox` starts it again" in failed.stderr


def _without_it_chats_stay(gpubox: Gpubox, box: TestBox) -> None:
    gpubox.box_file("mybox", "provider: attach\n")
    gpubox("up", "mybox")
    assert "open-webui" not in {item["name"] for item in gpubox.json("status", "mybox")["services"]}
    listed = json.loads(box.exec(f"{ROOT}/bin/boxctl manifest --list").stdout)
    assert "open-webui/data/webui.db" in {item["path"] for item in listed["files"]}
    refused = gpubox("open", "mybox", code=2)
    assert "asks for no web UI" in refused.stderr


def _no_secret_lies_open(box: TestBox, gpubox: Gpubox, secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        where = f"--exclude-dir=envs --exclude-dir=controller --exclude-dir=models {ROOT} /tmp"
        held = box.exec(f"grep -rlF {secret} {where} || true").stdout.split()
        modes = {path: box.exec(f"stat -c %a '{path}'").stdout.strip() for path in held}
        assert {path: mode for path, mode in modes.items() if mode != "600"} == {}
        assert not [path for path in held if "/logs/" in path or path.endswith("events.jsonl")]
        here = [path for path in gpubox.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert [path for path in here if path.stat().st_mode & 0o077] == []


def _only_loopback(box: TestBox) -> None:
    listening = box.exec("ss -Htln").stdout.split("\n")
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening if line.strip()}
    assert addresses <= {"127.0.0.1", "[::1]"}


class Ui:
    """The web UI behind a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port, self.token = port, ""

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON is what it is
        """What it answers to a request that ends well."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.status == 200, text
        return json.loads(text)

    def sign_in(self, email: str, password: str) -> None:
        """Be somebody."""
        self.token = self.ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})["token"]

    def models(self) -> set[str]:
        """What can be chosen."""
        return {model["id"] for model in self.ask("GET", "/api/models")["data"]}

    def chat(self, model: str, text: str) -> str:
        """One answer."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": False}
        return str(self.ask("POST", "/api/chat/completions", body)["choices"][0]["message"]["content"])
