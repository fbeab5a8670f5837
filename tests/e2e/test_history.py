"""The chats of the real open-webui as files, and files as chats, on a box."""

from __future__ import annotations

import json
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli import Gpubox
from unit.history.talks import with_a_tool
from unit.history.world import tree
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes

ROOT = "/root/autodl-tmp/gpubox"
PLACE = f"{ROOT}/open-webui"
# Stands for network storage that outlives the box.
DISK = "/root/autodl-fs"
EMAIL, OTHER, PASSWORD = "me@example.com", "other@example.com", "of-a-user-123"
ENGINE = Path(__file__).parents[1] / "box/standin_engine.py"
BOX_FILE = f"""provider: attach
web_ui:
  admin_email: {EMAIL}
  engines: [{{url: "http://127.0.0.1:8000/v1"}}]
  snapshots: {{every: 1m, to: {DISK}/web-ui}}
"""
# Asks open-webui from inside the box: [method, path, body, token] as JSON on stdin, [status, answer] on stdout.
CLIENT = """
import http.client, json, sys
method, path, body, token = json.load(sys.stdin)
c = http.client.HTTPConnection("127.0.0.1", 3000, timeout=120)
kind = "application/json"
if isinstance(body, str):
    kind = "multipart/form-data; boundary=x"
    head = '--x\\r\\nContent-Disposition: form-data; name="file"; filename="诗.txt"\\r\\n'
    data = (head + "Content-Type: text/plain\\r\\n\\r\\n" + body + "\\r\\n--x--\\r\\n").encode()
else:
    data = body and json.dumps(body).encode()
c.request(method, path, data, {"Authorization": f"Bearer {token}", "Content-Type": kind})
r = c.getresponse()
print(json.dumps([r.status, json.loads(r.read() or b"null")]))
"""
TALK = tree(
    ("m1", None, "user", "你是谁？"),
    ("m2", "m1", "assistant", "the first answer"),
    ("m3", "m1", "assistant", "```python\nprint('😀')\n"),
    ("m4", "m3", "user", "谢谢"),
)


@dataclass
class Ui:
    """A box with a web UI, and the command line."""

    tool: Gpubox
    box: TestBox

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:  # noqa: ANN401
        """One request to the API of open-webui, which takes it."""
        asked = json.dumps([method, path, body, token]).encode()
        done = self.box.exec(f"python3 -c {shlex.quote(CLIENT)}", stdin=asked)
        assert done.exit_code == 0, done.stderr
        status, answer = json.loads(done.stdout)
        assert status == 200, answer
        return answer

    def sign_in(self, email: str, password: str) -> str:
        """The token."""
        return str(self.ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})["token"])

    def admin(self) -> str:
        """The admin's token."""
        return self.sign_in(EMAIL, self.box.exec(f"cat {PLACE}/admin-password").stdout.strip())

    def export(self, *more: str) -> Path:
        """The directory of a new export."""
        return Path(self.tool("history", "export", "mybox", *more).stdout.strip())


@pytest.fixture
def ui(boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> Iterator[Ui]:
    """A web UI before a stand-in engine."""
    tool = Gpubox(tmp_path)
    box = boxes(**offline("controller", "open_webui"))
    box.write("/root/engine.py", ENGINE.read_text())
    box.exec(f"mkdir {DISK}")
    box.exec("setsid python3 /root/engine.py 8000 key /root/asked.jsonl </dev/null >/dev/null 2>&1 &")
    tool("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    tool.box_file("mybox", BOX_FILE)
    tool("up", "mybox")
    yield Ui(tool, box)
    tool.end()


def chats(place: Path) -> dict[str, dict[str, Any]]:
    """An export's chats by title."""
    index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    found = [json.loads((place / each["json"]).read_text(encoding="utf-8")) for each in index["chats"]]
    return {chat["title"]: chat for chat in found}


def told(place: Path) -> dict[str, Any]:
    """What has to be the same wherever the chats are: every message in its order, and the times."""
    keys = ("role", "text", "time", "model")
    return {
        title: (
            chat["origin"],
            [[message.get(key) for key in keys] for message in chat["messages"]],
            sorted(str([message.get(key) for key in keys]) for message in chat["other_messages"]),
            (chat["created_at"], chat["updated_at"], chat["tags"], chat["archived"], chat["pinned"]),
        )
        for title, chat in chats(place).items()
    }


@pytest.mark.timeout(1500)
def test_chats_go_out_and_come_in_again(ui: Ui, tmp_path: Path) -> None:
    admin = ui.admin()
    ui.ask("POST", "/api/v1/auths/add", {"name": "o", "email": OTHER, "password": PASSWORD, "role": "user"}, admin)
    other = ui.sign_in(OTHER, PASSWORD)
    given = ui.ask("POST", "/api/v1/files/?process=false", "床前明月光", other)
    talk = json.loads(json.dumps(TALK))
    talk["history"]["messages"]["m1"]["files"] = [{"type": "file", "id": given["id"], "name": "诗.txt"}]
    for title, token, stored in (("你好: 1/2?", admin, TALK), ("with a file", other, talk)):
        ui.ask("POST", "/api/v1/chats/new", {"chat": {"title": title, **stored}}, token)

    first = ui.export()
    assert set(chats(first)) == {"你好: 1/2?", "with a file"}
    texts = [message["text"] for message in chats(first)["你好: 1/2?"]["messages"]]
    assert texts == ["你是谁？", "```python\nprint('😀')\n", "谢谢"]
    (file,) = chats(first)["with a file"]["files"]
    assert (first / file["file"]).read_text(encoding="utf-8") == "床前明月光"
    # As well while the web UI is stopped, and from a backup without the box.
    ui.box.exec(f"{ROOT}/bin/boxctl service stop open-webui")
    assert told(ui.export("--user", OTHER)) == {"with a file": told(first)["with a file"]}
    backup = ui.tool("backup", "mybox", "--declared").stdout.strip()
    ui.box.exec(f"{ROOT}/bin/boxctl service start open-webui")
    assert told(ui.export("--from", backup)) == told(first)

    _snapshots_at_home(ui, told(first))
    _snapshots_on_the_box(ui, told(first))
    _into_an_empty_web_ui(ui, first)
    _from_chatgpt(ui, tmp_path, first)


def _snapshots_at_home(ui: Ui, wanted: dict[str, Any]) -> None:
    """While the tunnel is open, which `up` has opened."""
    place = ui.tool.home / ".local/share/gpubox/snapshots/mybox"
    until((place / ".looked").is_file, "a first snapshot", 120)

    def has_all() -> bool:
        found = sorted(each for each in place.iterdir() if each.name[0] == "2")
        return bool(found) and told(ui.export("--from", str(found[-1]))) == wanted

    # As if a minute had gone by.
    (place / ".looked").write_text("2026-01-01T00:00:00+00:00")
    until(has_all, "a snapshot of all chats", 120)
    assert ui.box.exec(f"test -e {ROOT}/cache/open-webui-fetched").exit_code == 0
    newest = max(str(each) for each in place.iterdir() if each.name[0] == "2")
    files = ui.tool.json("restore", "mybox", newest, "--dry-run")["files"]
    assert {each["target"].startswith(f"{PLACE}/") for each in files} == {True}
    # They are no backups: nothing finds them by itself.
    backup = ui.tool.json("restore", "mybox", "--dry-run")["place"]
    assert "gpubox-backups" in backup


def _snapshots_on_the_box(ui: Ui, wanted: dict[str, Any]) -> None:
    """While the laptop is gone; the next box takes them from there."""
    ui.tool("tunnel", "--stop")
    assert not (ui.tool.home / ".local/share/gpubox/boxes/mybox/snapshots.json").exists()
    # As if that were a minute ago.
    ui.box.exec(f"rm {ROOT}/cache/open-webui-fetched")
    until(lambda: ui.box.exec(f"ls {DISK}/web-ui/mybox/2*/manifest.json").exit_code == 0, "a snapshot on the disk", 180)
    boxctl = f"{ROOT}/bin/boxctl service"
    ui.box.exec(f"{boxctl} stop open-webui && rm -r {PLACE} && mkdir -m 700 {PLACE}")
    ui.tool("up", "mybox", "--full")
    ui.tool("restore", "mybox", "--from-box", f"{DISK}/web-ui", "--force")
    assert told(ui.export()) == wanted
    ui.sign_in(OTHER, PASSWORD)


def _into_an_empty_web_ui(ui: Ui, first: Path) -> None:
    """The same chats, once; a second time they are kept."""
    boxctl = f"{ROOT}/bin/boxctl service"
    done = ui.box.exec(f"{boxctl} stop open-webui && mv {PLACE}/data {ROOT}/old && {boxctl} start open-webui")
    assert done.exit_code == 0, done.stderr
    ui.tool("up", "mybox", "--full")
    assert "2 new" in ui.tool("history", "import", "mybox", str(first), "--dry-run").stdout
    assert chats(ui.export()) == {}
    done_json = ui.tool.json("history", "import", "mybox", str(first))
    # The second user is not in this web UI: the admin gets the chat.
    assert (done_json["new"], done_json["kept"], done_json["users"]) == (2, 0, {EMAIL: 2})
    assert told(ui.export()) == told(first)
    again = ui.tool.json("history", "import", "mybox", str(first))
    assert (again["new"], again["kept"]) == (0, 2)
    assert len(ui.ask("GET", "/api/v1/chats/list", token=ui.admin())) == 2


def _from_chatgpt(ui: Ui, directory: Path, first: Path) -> None:
    """For a user who is named; a malformed one is named, and what was before it stays."""
    ui.ask("POST", "/api/v1/auths/add", {"name": "o", "email": OTHER, "password": PASSWORD, "role": "user"}, ui.admin())
    archive = directory / "chatgpt.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("conversations-000.json", json.dumps([with_a_tool(), {"id": "b", "title": "坏了"}]))
    said = ui.tool("history", "import", "mybox", str(archive), "--user", OTHER, code=2).stderr
    assert "坏了" in said
    assert "1 new" in said
    brought = told(ui.export("--user", OTHER))
    assert brought["写诗"][1][0][1] == "[image: file_0001, 64x32]\n\n画的是什么？\n\n[file: a.pdf]"
    seen = ui.ask("GET", "/api/v1/chats/list", token=ui.sign_in(OTHER, PASSWORD))
    assert [chat["title"] for chat in seen] == ["写诗"]
    (stranger,) = [ui.tool("history", "import", "mybox", str(first), "--user", "x@example.com", code=1).stderr]
    assert f"`{EMAIL}`" in stranger
