"""`on: laptop`: one real open-webui on this machine for the engines of two boxes, and chats that outlive both.

The engines are stand-ins behind vLLM's own role; open-webui's packages come by this machine's pip configuration.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from box import standin_vllm
from box.testbox import wheelhouse
from box.testbox.options import Bind
from e2e.cli import wait_for
from free_ports import free_run
from gpubox.remote import tunnel_files
from gpubox.remote.ports import is_free
from keeping.web_ui_people import Person

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

LINKS, MODEL, EMAIL = "/opt/standins", "/root/model", "me@example.com"
BOX_FILE = """
provider: attach
engine: vllm
model: {{source: path, path: /root/model}}
vllm: {{build: cpu, served_model_name: model-{name}, api_key: {upper}_API_KEY}}
web_ui: {{on: laptop, port: {port}, admin_email: me@example.com}}
agents: [{{name: 诗人, system_prompt: 你在 {name} 上。}}]
"""


@dataclass
class Story:
    """Two boxes with an engine each, and the command line that knows them."""

    gpubox: Gpubox
    boxes: dict[str, TestBox]
    port: int
    password: str = ""
    keys: dict[str, str] = field(default_factory=lambda: {"one": "hunter2-one", "two": "hunter2-two"})
    _signed_in: dict[int, Person] = field(default_factory=dict)

    def person(self) -> Person:
        """The admin, signed in to the web UI on this machine: once, for sign-ins are limited, and last."""
        if self.port not in self._signed_in:
            self._signed_in[self.port] = Person(self.port, EMAIL, self.password)
        return self._signed_in[self.port]

    def forget_sign_ins(self) -> None:
        """Another web UI is there now."""
        self._signed_in.clear()

    def models(self) -> set[str]:
        """What can be chosen there."""
        return {str(model["id"]) for model in self.person().ask("GET", "/api/models")["data"]}

    def tunnel(self, name: str) -> tunnel_files.State:
        """What the tunnel of a box reports."""
        place = self.gpubox.home / ".local/share/gpubox/boxes" / name
        state = tunnel_files.read_state(place)
        assert state is not None
        return state

    def home(self) -> list[psutil.Process]:
        """Every process of the box on this machine."""
        found = []
        for process in psutil.process_iter():
            try:
                here = process.environ().get("HOME", "")
            except psutil.Error:
                continue
            if here.startswith(str(self.gpubox.home / ".local/share/gpubox/local-boxes")):
                found.append(process)
        return found


@pytest.fixture
def story(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> Story:
    links = standin_vllm.make(tmp_path / "standins")
    wishes = offline("controller")
    pip = wishes["files"]["/etc/pip.conf"].rstrip() + f" {LINKS}\n"
    wishes = wishes | {"binds": (*wishes["binds"], Bind(str(links), LINKS)), "files": {"/etc/pip.conf": pip}}
    story = Story(gpubox, {name: boxes(**wishes) for name in ("one", "two")}, free_run(4))
    # As a person's own configuration would say it.
    gpubox.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse.wheelhouse("controller", "open_webui"))}
    for name, box in story.boxes.items():
        box.exec(f"mkdir -p {MODEL} && echo '{{}}' > {MODEL}/config.json && echo x > {MODEL}/model.safetensors")
        gpubox.env[f"{name.upper()}_API_KEY"] = story.keys[name]
        gpubox("add", name, box.ssh_line, "--yes", stdin=f"{box.password}\n")
        gpubox.box_file(name, BOX_FILE.format(name=name, upper=name.upper(), port=story.port))
    return story


@pytest.mark.timeout(1800)
def test_one_web_ui_at_home_for_two_boxes(story: Story) -> None:
    gpubox = story.gpubox
    _a_box_of_that_name_is_left_alone(story)
    up = gpubox("up", "one")
    assert f"open-webui: http://localhost:{story.port}\n" in up.stdout
    assert "accounts and chats stay here" in up.stderr
    found = gpubox.json("open", "one", "--no-browser", "--show-password")
    assert (found["name"], found["url"], found["on"]) == ("laptop", f"http://localhost:{story.port}", "laptop")
    story.password = found["password"]
    assert story.models() == {"model-one", "诗人"}
    first = story.person().says("你好", model="model-one")

    said = gpubox("up", "two").stderr
    assert "the agent `诗人` is `诗人 (two)` in the web UI" in said
    assert story.models() == {"model-one", "model-two", "诗人", "诗人-(two)"}
    story.person().says("你好", model="诗人-(two)")
    (asked,) = story.boxes["two"].read("/root/asked-model-two.jsonl").splitlines()[-1:]
    assert json.loads(asked)["body"]["messages"][0]["content"] == "你在 two 上。"
    again = gpubox("up", "two").stderr
    assert again.count("✓ nothing to do") == 2
    _nothing_is_open(story)

    _asleep(story)
    _the_port_is_taken(story)
    _the_machine_is_started_anew(story)

    plan = gpubox("down", "one", "--dry-run").stdout
    assert "its accounts and chats stay there, nothing of them is lost" in plan
    gpubox("down", "one", "--yes")
    wait_for("the end of its models", lambda: "model-one" not in story.models())
    assert {"model-two", "诗人-(two)"} <= story.models()
    person = story.person()
    assert first in person.chats()
    second = person.says("还在吗？", model="model-two")
    backup = _it_is_a_box_like_any(story, {first, second})
    _restored_to_this_machine(story, backup, {first, second})


def _a_box_of_that_name_is_left_alone(story: Story) -> None:
    gpubox = story.gpubox
    line = story.boxes["two"]
    gpubox("add", "laptop", line.ssh_line, "--yes", stdin=f"{line.password}\n")
    refused = gpubox("up", "one", code=3)
    assert "a box of yours is called `laptop`" in refused.stderr
    assert "set `on: box`" in refused.stderr
    gpubox("down", "laptop", "--yes", "--discard", code=None)
    assert "laptop" not in {item["name"] for item in gpubox.json("ls")}


def _nothing_is_open(story: Story) -> None:
    """Only 127.0.0.1 listens, and no key or password is in a command line, a log or a file for others."""
    listening, words = set(), []
    for process in story.home():
        # Some live for a moment only.
        with suppress(psutil.NoSuchProcess):
            words += process.cmdline()
            connections = process.net_connections("tcp")
            listening |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    secrets = [*story.keys.values(), story.password]
    assert not [secret for secret in secrets if secret in " ".join(words)]
    for place, below, names in os.walk(story.gpubox.home / ".local/share/gpubox"):
        below[:] = [name for name in below if name not in {"envs", "controller", "bundles"}]
        for path in (Path(place, name) for name in names):
            held = path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
            assert not held or (path.stat().st_mode & 0o077 == 0 and path.suffix != ".log"), path


def _asleep(story: Story) -> None:
    """The laptop sleeps, the box's side of the line ends meanwhile, and nobody here hears of it.

    Two minutes or two seconds make no difference: what two minutes of sleep do is that the far end has gone without a
    word, and that is done here. Clocks go on for processes that are stopped, so all timers have run out either way.
    """
    box, state = story.boxes["two"], story.tunnel("two")
    assert state.child is not None
    sleeping = [psutil.Process(state.daemon.pid), psutil.Process(state.child.pid)]
    for process in sleeping:
        process.suspend()
    box.cut()
    assert box.kill_connections() > 0
    box.heal()
    for process in sleeping:
        process.resume()
    wait_for("the engine in the web UI's list", lambda: "model-two" in story.models())
    assert story.tunnel("two").reconnects > state.reconnects
    story.person().says("早上好", model="model-two")


def _the_port_is_taken(story: Story) -> None:
    """The tunnel comes back at another port, and the web UI hears of it."""
    gpubox = story.gpubox
    (forward,) = story.tunnel("one").forwards
    gpubox("tunnel", "one", "--stop")
    # It keeps its list for a second.
    wait_for("the end of its models", lambda: "model-one" not in story.models())
    with socket.create_server(("127.0.0.1", forward.local_port)):
        gpubox("tunnel", "one", "--detach")
        (moved,) = story.tunnel("one").forwards
        assert moved.local_port != forward.local_port
        wait_for("its models", lambda: "model-one" in story.models())


def _the_machine_is_started_anew(story: Story) -> None:
    """A reboot ends everything here; `gpubox open` brings it back, at the next port where its own is gone."""
    states = [story.tunnel(name) for name in ("one", "two")]
    pids = [part.pid for state in states for part in (state.daemon, state.child) if part is not None]
    for process in [*story.home(), *(psutil.Process(pid) for pid in pids)]:
        # Some end with others.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    # A new terminal knows no keys.
    for name in story.keys:
        del story.gpubox.env[f"{name.upper()}_API_KEY"]
    wait_for("the end of everything", lambda: is_free(story.port) and not story.home())
    with socket.create_server(("127.0.0.1", story.port)):
        # Two at once: one of them starts it, the other waits for that.
        other = story.gpubox.start("open", "two", "--no-browser")
        elsewhere = story.gpubox("open", "one", "--no-browser").stdout
        story.port += 1
        assert elsewhere == f"http://localhost:{story.port}\n"
        assert other.wait(600) == 0, story.gpubox.stderr_of("open", "two", "--no-browser")
    wait_for("all models", lambda: story.models() == {"model-one", "model-two", "诗人", "诗人-(two)"})


def _it_is_a_box_like_any(story: Story, chats: set[str]) -> Path:
    """Listed without a price, no guard on it, and taken down with a backup: its place."""
    gpubox = story.gpubox
    (listed,) = [item for item in gpubox.json("ls") if item["name"] == "laptop"]
    assert (listed["provider"], listed["per_hour"], listed["guard_at"]) == ("local", None, None)
    status = gpubox.json("status", "laptop")
    assert [(item["name"], item["healthy"]) for item in status["services"]] == [("open-webui", True)]
    assert status["guard"] is None
    assert "laptop" not in gpubox("cost").stdout
    gpubox("down", "laptop", "--yes")
    (kept,) = (gpubox.directory / "gpubox-backups").glob("laptop*/**/web-ui.json")
    assert json.loads(kept.read_text())["rows"]["chat"] >= len(chats)
    assert story.home() == []
    return kept.parent


def _restored_to_this_machine(story: Story, backup: Path, chats: set[str]) -> None:
    """An empty web UI gives way to the chats that were saved; the same password signs in, and the engine is today's."""
    gpubox = story.gpubox
    gpubox("open", "two", "--no-browser")
    restored = gpubox("restore", "laptop", str(backup)).stderr
    assert f"`{EMAIL}` signs in; the last chat is as in the database" in restored
    found = gpubox.json("open", "two", "--no-browser", "--show-password")
    assert found["password"] == story.password
    story.port = int(found["url"].rpartition(":")[2])
    story.forget_sign_ins()
    assert chats <= set(story.person().chats())
    wait_for("the models", lambda: {"model-two", "诗人-(two)"} <= story.models())
    story.person().says("我回来了", model="model-two")
    gpubox("down", "laptop", "--yes")
