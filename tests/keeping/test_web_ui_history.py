"""Everything that people have in a web UI outlives its box: the real open-webui, on boxes that come and go."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli import Gpubox
from gpubox import backups
from gpubox.history import about as history
from keeping.make_old_web_ui import EMAIL, OLD, PASSWORD, SECRET
from keeping.trouble import flip
from keeping.web_ui_people import Person
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes

ROOT = "/root/autodl-tmp/gpubox"
ELSEWHERE = "/root/autodl-tmp/elsewhere/gpubox"
ENGINE = Path(__file__).parents[1] / "box" / "standin_engine.py"
FIXTURE = Path(__file__).parent / "fixtures/web-ui-0.11.4"
A, B = ("a@example.com", "of-a-user-123"), ("b@example.com", "of-b-user-123")
NOTE = "读书笔记: written by hand"
BOX_FILE = """
provider: attach
data_dir: {data_dir}
web_ui: {{engines: [{{url: "http://127.0.0.1:{port}/v1", api_key: STANDIN}}]}}
agents: [{{name: 诗人, base_model: small-gpt, system_prompt: 你是一位诗人。}}]
"""


@dataclass
class Ui:
    """A box with a web UI, before a stand-in engine of its own."""

    tool: Gpubox
    box: TestBox
    name: str
    port: int = 0

    def up(self) -> None:
        self.tool("up", self.name)
        self.port = int(self.tool("open", self.name, "--no-browser").stdout.rpartition(":")[2].strip().rstrip("/"))

    def people(self) -> list[Person]:
        password = self.tool("open", self.name, "--no-browser", "--show-password").stdout.split()[1]
        return [Person(self.port, *who) for who in ((EMAIL, password), A, B)]

    def sh(self, command: str) -> str:
        done = self.box.exec(command)
        assert done.exit_code == 0, done.stderr
        return done.stdout


@pytest.fixture
def tool(tmp_path: Path, boxes: BoxFactory) -> Iterator[Gpubox]:
    """Ends, with its tunnels, before the boxes do."""
    tool = Gpubox(tmp_path)
    tool.env["STANDIN"] = "sk-standin"
    yield tool
    tool.end()


@pytest.fixture
def stand(tool: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes]) -> Callable[[str, str, int], Ui]:
    """Makes a box that is up: its name, its data directory, the port of its engine."""

    def make(name: str, data_dir: str, engine: int) -> Ui:
        box = boxes(**offline("controller", "open_webui"))
        tool("add", name, box.ssh_line, "--yes", stdin=f"{box.password}\n")
        tool.box_file(name, BOX_FILE.format(data_dir=data_dir, port=engine))
        box.write("/root/engine.py", ENGINE.read_text())
        box.exec(f"setsid python3 /root/engine.py {engine} sk-standin /root/asked </dev/null >/dev/null 2>&1 &")
        ui = Ui(tool, box, name)
        ui.up()
        return ui

    return make


# Two boxes, each with an installation: two minutes on quiet cores, more than ten on busy ones.
@pytest.mark.timeout(2400)
def test_chats_outlive_their_box(tool: Gpubox, stand: Callable[[str, str, int], Ui], tmp_path: Path) -> None:
    old = stand("mybox", "/root/autodl-tmp", 8000)
    admin, one, two = people = _crowd(old)
    chats = [person.says(f"{number} of {person}") for number in range(3) for person in people]
    one.says("what do you read here?", chats[1], file=(upload := one.uploads("note.txt", NOTE)))
    _backup_while_they_chat(old, two, chats[2])
    _copied_it_is_not_whole(old, one, chats[1], tmp_path)

    # What was said after the last backup comes home, too; with the box cut off, what is missing is said.
    last = admin.says("the last word", chats[0])
    before = [person.chats() for person in people]
    assert sum(map(len, before)) == 9
    assert "the last word" in before[0][last]
    _cut_off_it_is_refused(old)
    tool("down", "mybox", "--yes")
    old.box.destroy()
    kept = max((tmp_path / "gpubox-backups/mybox").iterdir())
    home = history.in_backup(kept / "files")
    assert (home.users, home.chats, home.version) == (3, 9, "0.12.4")

    new = stand("newbox", ELSEWHERE.removesuffix("/gpubox"), 8001)
    _rotten_is_refused(tool, kept, tmp_path)
    _newer_is_refused(tool, new, kept, tmp_path)
    # Nobody has written anything in the new one: nothing is lost, and nothing has to be forced.
    done = tool("restore", "newbox", str(kept))
    assert f"`{EMAIL}` signs in; the last chats of 3 users are as in the database (users: 3, chats: 9)" in done.stderr
    restored = new.people()
    assert [person.chats() for person in restored] == before
    assert restored[1].text("GET", f"/api/v1/files/{upload}/content") == NOTE
    _new_engine_answers(new, restored[2], chats[2])
    # The password and the key that came with the database are those that the next `up` brings.
    new.up()
    assert [len(person.chats()) for person in new.people()] == [3, 3, 3]
    assert "newer than the backup" in tool("restore", "newbox", str(kept), code=3).stderr

    _older_is_taken(tool, new, tmp_path)


def _crowd(ui: Ui) -> list[Person]:
    password = ui.tool("open", ui.name, "--no-browser", "--show-password").stdout.split()[1]
    admin = Person(ui.port, EMAIL, password)
    admin.adds("a", *A)
    admin.adds("b", *B)
    return ui.people()


def _backup_while_they_chat(ui: Ui, person: Person, chat: str) -> None:
    """A backup has all chats and what they speak of."""
    ended, said = threading.Event(), [0]

    def go_on() -> None:
        while not ended.is_set():
            person.uploads(f"{said[0]}.txt", "x")
            person.says(f"and on: {said[0]}", chat)
            said[0] += 1

    talk = threading.Thread(target=go_on)
    talk.start()
    try:
        until(lambda: said[0] > 2, "some messages")
        made = json.loads(ui.tool("backup", ui.name, "--json").stdout)
        assert said[0] > 2
    finally:
        ended.set()
        talk.join()
    assert (made["web_ui"]["users"], made["web_ui"]["chats"]) == (3, 9)
    assert made["web_ui"]["messages"] >= 18 + 2 * 3
    assert not [note for note in made["notes"] if "upload" in note]
    place = Path(made["place"])
    assert json.loads((place / "web-ui.json").read_text()) == made["web_ui"]
    assert _rows(place / "files" / history.DATABASE) == 9


def _copied_it_is_not_whole(ui: Ui, person: Person, chat: str, tmp_path: Path) -> None:
    """The file alone, of a web UI at rest, lacks what was said last; `down` brings all of it home below."""
    copied = tmp_path / "copied.db"
    for number in range(5):
        person.says(f"soon {number}", chat)
        copied.write_bytes(base64.b64decode(ui.sh(f"base64 {ROOT}/open-webui/data/webui.db")))
        with history.opened(copied) as base:
            query = "SELECT count(*) FROM chat_message WHERE chat_id = ?"
            (there,) = base.execute(query, (chat,)).fetchone()
        if there < len(person.messages(chat)):
            return
        # SQLite has just written its log through, which it does every so many pages.
    pytest.fail("five copies of the file have everything")


def _rows(database: Path) -> int:
    with history.opened(database) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(base.execute("SELECT count(*) FROM chat").fetchone()[0])


def _cut_off_it_is_refused(ui: Ui) -> None:
    ui.box.cut()
    try:
        said = ui.tool("down", ui.name, "--yes", code=3).stderr
    finally:
        ui.box.heal()
    assert "the web UI in it has 3 users, 9 chats, " in said
    assert "what was written there since is not here" in said


def _rotten_is_refused(tool: Gpubox, kept: Path, tmp_path: Path) -> None:
    rotten = tmp_path / "rotten"
    shutil.copytree(kept, rotten)
    flip(rotten / "files" / history.DATABASE, 5000)
    said = tool("restore", "newbox", str(rotten), "--force", code=1).stderr
    assert f"files/{history.DATABASE}: its SHA-256 differs" in said


def _newer_is_refused(tool: Gpubox, ui: Ui, kept: Path, tmp_path: Path) -> None:
    """As an open-webui to come leaves it; before anything is written, whatever is forced."""
    newer = tmp_path / "newer"
    shutil.copytree(kept, newer)
    database = newer / "files" / history.DATABASE
    database.chmod(0o600)
    with contextlib.closing(sqlite3.connect(database)) as base, base:
        base.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    _replace(newer, {history.VERSION: json.dumps({"open_webui": "0.13.0", "alembic": "f" * 12}).encode()})
    before = ui.sh(f"find {ELSEWHERE}/open-webui -type f -exec sha256sum {{}} + | grep -v -e -wal -e -shm | sort")
    said = tool("restore", "newbox", str(newer), "--force", code=3).stderr
    assert "last used by open-webui 0.13.0" in said
    assert "`newbox` has open-webui 0.12.4" in said
    assert "pip install --upgrade gpubox" in said
    after = ui.sh(f"find {ELSEWHERE}/open-webui -type f -exec sha256sum {{}} + | grep -v -e -wal -e -shm | sort")
    assert after == before


def _new_engine_answers(ui: Ui, person: Person, chat: str) -> None:
    """The database came from before another engine; the agent came with it."""
    assert "诗人" in {model["id"] for model in person.ask("GET", "/api/models")["data"]}
    ui.sh("rm -f /root/asked")
    person.says("你是谁？", chat, model="诗人")
    asked: dict[str, Any] = json.loads(ui.sh("cat /root/asked"))["body"]
    assert asked["messages"][0] == {"role": "system", "content": "你是一位诗人。"}


def _older_is_taken(tool: Gpubox, ui: Ui, tmp_path: Path) -> None:
    """What the real 0.11.4 has left goes onto 0.12.4, which has a copy of it from before its tables changed."""
    older = tmp_path / "older"
    (upload,) = FIXTURE.glob("*_note.txt")
    database = gzip.decompress((FIXTURE / "webui.db.gz").read_bytes())
    files = {
        history.DATABASE: database,
        history.VERSION: (FIXTURE / "version.json").read_bytes(),
        history.ADMIN_PASSWORD: PASSWORD.encode(),
        history.SECRET_KEY: SECRET.encode(),
        f"{history.UPLOADS}/{upload.name}": upload.read_bytes(),
    }
    manifest = backups.Manifest(
        "oldbox", "2026-01-01T00:00:00+00:00", OLD.removesuffix("/open-webui"), "/old", "/root", (), (), ()
    )
    older.mkdir()
    backups.write(older, manifest)
    _replace(older, files)
    done = tool("restore", "newbox", str(older), "--force")
    assert "the last chats of 2 users are as in the database (users: 3, chats: 2)" in done.stderr
    assert ui.sh(f"cd {ELSEWHERE}/open-webui; ls -d before-*; cat version.json").split("\n", 1) == [
        "before-0.11.4",
        '{"open_webui": "0.12.4", "alembic": "0bd252b206fb"}\n',
    ]
    person = Person(ui.port, "a@old.example", "of-old-a-123")
    (chat,) = person.chats().values()
    file = upload.name.partition("_")[0]
    assert file in chat
    assert person.text("GET", f"/api/v1/files/{file}/content") == "written long ago"
    Person(ui.port, EMAIL, PASSWORD)


def _replace(place: Path, contents: dict[str, bytes]) -> None:
    """Have these files in a backup, whatever was there, and its manifest tell of all of them as they are."""
    manifest = backups.read(place)
    for path, data in contents.items():
        file = place / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data)
    there = {file.path: file for file in manifest.files}
    saved = []
    for name in sorted({*there, *contents}):
        data = (place / "files" / name).read_bytes()
        copy = "sqlite" if name.endswith(".db") else None
        blank = backups.Saved(name, f"{manifest.root}/{name}", 0, "", 1, 0o600, 0, 0, "declared", "x", copy)
        sha256 = hashlib.sha256(data).hexdigest()
        saved.append(there.get(name, blank)._replace(size=len(data), sha256=sha256))
    fields = {name: getattr(manifest, name) for name in ("name", "made_at", "root", "data_dir", "home")}
    backups.write(place, backups.Manifest(**fields, files=tuple(saved), missing=(), notes=(), beside=manifest.beside))
