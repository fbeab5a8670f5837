"""The role `open_webui` on a box, with the real open-webui: made, used by its API, changed, removed."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.cli import Gpubox
from e2e.test_plain_ansible import ansible, counts
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes

ROOT = "/root/autodl-tmp/gpubox"
PLACE = f"{ROOT}/open-webui"
ENGINE = Path(__file__).with_name("standin_engine.py")
KEY, SECRET, ASKED = "sk-engine-hunter2", "given-hunter2-0123456789", "/root/asked.jsonl"
EMAIL, NEW_PROMPT = "me@example.com", "你是一位医生。"
AGENT: dict[str, Any] = {
    "name": "诗人",
    "base_model": "small-gpt",
    "system_prompt": "你是一位诗人。",
    "parameters": {"temperature": 0.5, "top_p": 0.9},
}
VARIABLES: dict[str, Any] = {
    "open_webui_engines": [{"url": "http://127.0.0.1:8000/v1", "api_key": KEY}],
    "open_webui_admin_email": EMAIL,
    "open_webui_secret_key": SECRET,
    "open_webui_agents": [AGENT],
}
# Asks open-webui from inside the box: [method, path, body, token] as JSON on stdin, [status, answer] on stdout.
CLIENT = """
import http.client, json, sys
method, path, body, token = json.load(sys.stdin)
c = http.client.HTTPConnection("127.0.0.1", 3000, timeout=120)
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
c.request(method, path, body and json.dumps(body), headers)
r = c.getresponse()
print(json.dumps([r.status, r.read().decode()]))
"""


@dataclass
class Ui:
    """A box, and the plays that are run on it."""

    tool: Gpubox
    box: TestBox
    directory: Path

    def play(self, *options: str, tasks_from: str = "", **variables: object) -> tuple[int, str]:
        """Run the role alone, or base and supervisor before it; how many tasks changed something, and what was said."""
        before = [] if tasks_from else [{"role": "base"}, {"role": "supervisor"}, {"role": "open_webui"}]
        role = {"name": "Part", "ansible.builtin.import_role": {"name": "open_webui", "tasks_from": tasks_from}}
        play = {
            "name": "Test",
            "hosts": "all",
            "gather_facts": False,
            "vars": {**VARIABLES, **variables},
            "roles": before,
            "tasks": [role] if tasks_from else [],
        }
        file = self.directory / "play.yml"
        file.write_text(yaml.safe_dump([play], allow_unicode=True))
        said = ansible(self.tool, "-i", "inventories/gpubox.yml", str(file), "--limit", "mybox", *options)
        assert "hunter2" not in said
        return counts(said, "mybox")["changed"], said

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        """One request to the API of open-webui."""
        status, text = self.text(method, path, body, token)
        return status, json.loads(text)

    def text(self, method: str, path: str, body: object, token: str) -> tuple[int, str]:
        """The same, for what does not answer JSON."""
        asked = json.dumps([method, path, body, token]).encode()
        status, text = json.loads(self.sh(f"python3 -c {shlex.quote(CLIENT)}", asked))
        return int(status), str(text)

    def sign_in(self, email: str, password: str) -> str:
        """The token."""
        status, answer = self.ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})
        assert status == 200, answer
        return str(answer["token"])

    def sh(self, command: str, stdin: bytes = b"") -> str:
        """What a command that ends well prints."""
        done = self.box.exec(command, stdin=stdin)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def asked(self) -> list[dict[str, Any]]:
        """The bodies of what the engine was asked."""
        return [json.loads(line)["body"] for line in self.sh(f"cat {ASKED} || true").splitlines()]


@pytest.fixture
def ui(boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> Iterator[Ui]:
    """A box with a stand-in engine and nothing else."""
    tool = Gpubox(tmp_path)
    # Twice what it needs, so that it can be filled.
    box = boxes(**offline("controller", "open_webui") | {"data_size": 1400 << 20})
    tool("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    tool.box_file("mybox", "provider: attach\n")
    box.write("/root/engine.py", ENGINE.read_text())
    box.exec(
        f"setsid python3 /root/engine.py 8000 {KEY} {ASKED} </dev/null >/dev/null 2>&1 & echo $! > /root/engine.pid"
    )
    yield Ui(tool, box, tmp_path)
    tool.end()


# Six plays over SSH, and an installation: a minute and a half on quiet cores, ten on busy ones.
@pytest.mark.timeout(1500)
def test_the_web_ui_from_nothing_to_nothing(ui: Ui) -> None:
    ui.play("--check", "--diff")
    assert ui.sh("ls -A /root/autodl-tmp") == ""
    changed, _ = ui.play("--diff")
    assert changed > 0
    assert ui.play()[0] == 0
    password = ui.sh(f"cat {PLACE}/admin-password").strip()
    token = ui.sign_in(EMAIL, password)
    _it_is_shut(ui, password)
    _it_is_kept(ui)
    _people_use_it(ui, token)

    # With the engine down agents are changed all the same, and it is said.
    assert ui.play(tasks_from="verify")[0] == 0
    ui.sh("kill $(cat /root/engine.pid)")
    other = {**AGENT, "system_prompt": NEW_PROMPT, "parameters": {"temperature": 0.1}}
    changed, said = ui.play(tasks_from="serve", open_webui_agents=[other])
    assert changed == 1
    assert "the engine at http://127.0.0.1:8000/v1 does not answer" in said
    _, agent = ui.ask("GET", "/api/v1/models/model?id=%E8%AF%97%E4%BA%BA", token=token)
    assert agent["params"] == {"system": NEW_PROMPT, "temperature": 0.1}
    assert ui.play("--check", tasks_from="serve", open_webui_agents=[other])[0] == 0

    _a_stranger_on_its_port_is_named(ui)
    _a_disk_that_is_full_is_said_and_costs_no_chat(ui, password)
    ui.play(tasks_from="remove")
    assert "open-webui" not in "".join(ui.box.processes())
    assert ui.sh(f"ls -A {ROOT}/envs; ls {ROOT}/lib | grep -c open-webui || true").split()[-1] == "0"
    assert "webui.db" in ui.sh(f"ls {PLACE}/data")
    ui.play(tasks_from="remove", open_webui_remove_data=True)
    assert ui.box.exec(f"test -e {PLACE}").exit_code != 0


def _it_is_shut(ui: Ui, password: str) -> None:
    """Only 127.0.0.1 listens, strangers stay outside, secrets are nobody else's."""
    status, _ = ui.ask("POST", "/api/v1/auths/signup", {"name": "x", "email": "x@example.com", "password": "x" * 12})
    assert status == 403
    assert ui.ask("GET", "/api/models")[0] in {401, 403}
    # 0BB8 is 3000.
    table = ui.sh("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    listening = [line.split()[1] for line in table if ":0BB8 " in line and " 0A " in line]
    assert listening == ["0100007F:0BB8"]
    files = ("secret-key", "admin-password", "data/webui.db")
    assert set(ui.sh(f"cd {PLACE}; stat -c %a {' '.join(files)}").split()) == {"600"}
    assert set(ui.sh(f"stat -c %a {PLACE} {PLACE}/data {PLACE}/data/uploads").split()) == {"700"}
    assert ui.sh(f"cat {PLACE}/secret-key") == SECRET
    secrets = [password, KEY, SECRET]
    # The engine has its key on its own command line.
    argvs = [line for line in ui.box.processes() if "engine.py" not in line]
    shown = "\n".join(argvs) + ui.sh(f"cat {ROOT}/logs/*.log")
    assert not [secret for secret in secrets if secret in shown]


def _it_is_kept(ui: Ui) -> None:
    """The data lies where it shall, and a backup takes it: the database by SQLite's own way."""
    assert ui.box.exec(f"find {ROOT}/envs/open-webui/ -name webui.db | grep .").exit_code == 1
    listed = json.loads(ui.sh(f"{ROOT}/bin/boxctl manifest --list --declared"))
    copies = {file["path"]: file["copy"] for file in listed["files"] if file["path"].startswith("open-webui/")}
    assert copies == {
        "open-webui/data/webui.db": "sqlite",
        "open-webui/secret-key": None,
        "open-webui/admin-password": None,
        "open-webui/version.json": None,
    }
    found = json.loads(ui.sh(f"{ROOT}/bin/boxctl manifest --list"))["files"]
    assert [file["path"] for file in found if file["copy"] == "sqlite"] == ["open-webui/data/webui.db"]
    service = json.loads(ui.sh(f"{ROOT}/bin/boxctl status"))["services"][0]
    assert (service["name"], service["healthy"], service["restarts"]) == ("open-webui", True, 0)


def _a_stranger_on_its_port_is_named(ui: Ui) -> None:
    """It is not asked in open-webui's place; the service says who has the port."""
    boxctl = f"{ROOT}/bin/boxctl"
    ui.sh(f"{boxctl} service stop open-webui")
    ui.sh(
        "setsid python3 -m http.server --bind 127.0.0.1 3000 </dev/null >/dev/null 2>&1 & echo $! > /root/stranger.pid"
    )
    ui.box.exec(f"{boxctl} service start open-webui")
    until(lambda: json.loads(ui.sh(f"{boxctl} status"))["services"][0]["state"] == "failed", "failed")
    said = json.loads(ui.sh(f"{boxctl} status"))["services"][0]["last_error"]
    assert re.search(r"port 3000 of 127\.0\.0\.1 is taken by process \d+ \(python3", said), said
    ui.sh("kill $(cat /root/stranger.pid)")


def _a_disk_that_is_full_is_said_and_costs_no_chat(ui: Ui, password: str) -> None:
    """Nothing new is taken, `boxctl status` and `gpubox up` say why, and with room again all is as before."""
    boxctl = f"{ROOT}/bin/boxctl"

    def service() -> dict[str, Any]:
        return dict(json.loads(ui.sh(f"{boxctl} status"))["services"][0])

    ui.sh(f"{boxctl} service start open-webui")
    until(lambda: service()["healthy"], "the web UI", 300)
    token = ui.sign_in(EMAIL, password)
    kept = ui.ask("POST", "/api/v1/chats/new", {"chat": {"title": "before"}}, token)[1]["id"]
    ui.box.exec("for size in 1M 1k; do dd if=/dev/zero of=/root/autodl-tmp/fill-$size bs=$size 2>/dev/null; done")
    assert ui.ask("POST", "/api/v1/chats/new", {"chat": {"title": "x" * 300_000}}, token)[0] == 400
    assert re.search(r"the disk of `\S+` is full \(\d+ KiB free\)", service()["last_error"])
    refused = ui.tool("up", "mybox", code=1).stderr
    assert "`/root/autodl-tmp` has 0 MiB free" in refused, refused
    ui.sh("rm /root/autodl-tmp/fill-*")
    until(lambda: service()["healthy"], "the web UI", 300)
    assert service()["last_error"] is None
    assert ui.ask("GET", f"/api/v1/chats/{kept}", token=token)[1]["title"] == "before"


def _people_use_it(ui: Ui, token: str) -> None:
    """An ordinary user sees models and agents, and a question is one request to the engine."""
    new = {"name": "u", "email": "u@example.com", "password": "of-a-user-123", "role": "user"}
    assert ui.ask("POST", "/api/v1/auths/add", new, token)[0] == 200
    user = ui.sign_in("u@example.com", "of-a-user-123")
    for who in (token, user):
        _, models = ui.ask("GET", "/api/models", token=who)
        assert {model["id"] for model in models["data"]} == {"small-gpt", "诗人"}
    chat = {"model": "诗人", "stream": True, "messages": [{"role": "user", "content": "你是谁？"}]}
    status, text = ui.text("POST", "/api/chat/completions", chat, user)
    pieces = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    deltas = [json.loads(piece)["choices"][0]["delta"] for piece in pieces]
    assert (status, "".join(delta["content"] for delta in deltas)) == (200, "answer 1"), text
    (asked,) = ui.asked()
    assert asked["messages"][0] == {"role": "system", "content": AGENT["system_prompt"]}
    assert (asked["model"], asked["temperature"], asked["top_p"]) == ("small-gpt", 0.5, 0.9)
    assert "tools" not in asked
