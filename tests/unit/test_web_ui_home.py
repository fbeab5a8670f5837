"""The web UI on this machine: what is written for it, and when it is brought in line. The box itself is e2e's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from free_ports import free_run
from gpubox import web_ui_engines, web_ui_home
from gpubox.boxfile import load
from gpubox.converge.progress import Board, Silent
from gpubox.errors import ConvergeFailed, Unreachable, UsageError
from gpubox.ledger import Ledger
from gpubox.remote.tunnel import Forward, OpenTunnel
from gpubox.up import Up
from gpubox.web_ui_engines import HOME_BOX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpubox.boxfile import WebUi

KEY = "hunter2-key"
ANSWER: dict[str, Any] = {"services": [{"name": "vllm", "port": 8000, "state": "running"}]}
BOX_FILE = """
provider: attach
engine: vllm
model: {{source: path, path: /root/model}}
vllm: {{build: cpu, served_model_name: model-{name}, api_key: ENGINE_API_KEY}}
web_ui: {{on: laptop, port: {port}, admin_email: {name}@example.com}}
agents: [{{name: 诗人, system_prompt: 你在 {name} 上。}}]
"""


class Notes(Board):
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(Silent())
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Laptop:
    """What stands for `up laptop`: how often it was called, and with which settings."""

    def __init__(self) -> None:
        self.settings: list[WebUi] = []
        self.failing = 0

    def up(self, name: str, *, board: Board, box_file: Path) -> Up:
        assert name == HOME_BOX
        with Ledger() as ledger:
            record = ledger.find(name) or ledger.add(name, "local", box_file=box_file)
        box = load(box_file)
        assert box.web_ui_settings is not None
        self.settings.append(box.web_ui_settings)
        if self.failing:
            self.failing -= 1
            raise ConvergeFailed("port taken")
        return Up(record, {}, changed=True, box=box)


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    made = Laptop()
    monkeypatch.setattr(web_ui_home, "up", made.up)
    monkeypatch.setattr(web_ui_home, "status", lambda *_: ANSWER)
    monkeypatch.setenv("ENGINE_API_KEY", KEY)
    return made


@pytest.fixture
def add(tmp_path: Path, free: int) -> Callable[[str], None]:
    def add(name: str) -> None:
        path = tmp_path / f"{name}.yml"
        path.write_text(BOX_FILE.format(name=name, port=free), encoding="utf-8")
        with Ledger() as ledger:
            ledger.add(name, "attach", box_file=path, root="/r", data_dir="/d")

    return add


@pytest.fixture
def free() -> int:
    return free_run(2)


def tunnel(name: str, port: int) -> OpenTunnel:
    return OpenTunnel(name, (Forward(port, 8000, "vllm"),), "connected", "", 0, None, 1, detached=True)


def serve(name: str, port: int, board: Board | None = None) -> web_ui_home.Home:
    return web_ui_home.serve(name, board=board or Notes(), tunnel=tunnel(name, port), answer=ANSWER)


def urls(of: WebUi) -> list[str]:
    return [engine.url for engine in of.engines]


def test_two_boxes_one_web_ui(laptop: Laptop, add: Callable[[str], None], free: int) -> None:
    add("one")
    add("two")
    home = serve("one", 8000)
    assert (home.place.url, home.place.email) == (f"http://localhost:{free}", "one@example.com")
    assert (home.place.name, home.place.on) == (HOME_BOX, "laptop")
    board = Notes()
    # Whoever came first says where it is and who signs in.
    assert serve("two", 8001, board).place.email == "one@example.com"
    assert urls(laptop.settings[-1]) == ["http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"]
    assert board.notes == ["the agent `诗人` is `诗人 (two)` in the web UI: another box has one of that name"]
    agents = load(web_ui_engines.box_file()).agents
    assert [(agent.name, agent.base_model) for agent in agents] == [("诗人", "model-one"), ("诗人 (two)", "model-two")]


def test_a_tunnel_at_another_port_is_followed(laptop: Laptop, add: Callable[[str], None]) -> None:
    add("one")
    serve("one", 8000)
    web_ui_home.follow("one", board=Notes(), tunnel=tunnel("one", 8000))
    assert len(laptop.settings) == 1
    web_ui_home.follow("one", board=Notes(), tunnel=tunnel("one", 8007))
    assert urls(laptop.settings[-1]) == ["http://127.0.0.1:8007/v1"]
    assert len(laptop.settings) == 2


def test_a_new_terminal_needs_no_keys(
    laptop: Laptop, add: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add("one")
    monkeypatch.delenv("ENGINE_API_KEY")
    with pytest.raises(UsageError, match="`ENGINE_API_KEY`"):
        serve("one", 8000)
    monkeypatch.setenv("ENGINE_API_KEY", KEY)
    serve("one", 8000)
    monkeypatch.delenv("ENGINE_API_KEY")
    serve("one", 8003)
    assert list(web_ui_engines.keys().values()) == [KEY]
    monkeypatch.setenv("ENGINE_API_KEY", "hunter3-key")
    serve("one", 8003)
    assert list(web_ui_engines.keys().values()) == ["hunter3-key"]
    assert len(laptop.settings) == 3


def test_a_port_that_somebody_has_is_left_to_them(
    laptop: Laptop, add: Callable[[str], None], free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("one")
    with socket.create_server(("127.0.0.1", free)):
        assert serve("one", 8000).place.url == f"http://localhost:{free + 1}"
        # It stays where it is, which people have noted, when the other port is free again.
    assert serve("one", 8000).place.url == f"http://localhost:{free + 1}"
    monkeypatch.setattr("gpubox.providers.local.LocalProvider.state", lambda *_: "running")
    with socket.create_server(("127.0.0.1", free + 1)):
        # Found out late: it runs, and its service could not have the port.
        laptop.failing = 1
        board = Notes()
        assert serve("one", 8000, board).place.url == f"http://localhost:{free}"
    assert len(laptop.settings) == 4


def test_another_failure_is_one(laptop: Laptop, add: Callable[[str], None]) -> None:
    add("one")
    laptop.failing, board = 1, Notes()
    with pytest.raises(ConvergeFailed):
        serve("one", 8000, board)
    assert "`one` itself is up" in board.notes[0]


def test_a_box_that_is_down_leaves_the_list(
    laptop: Laptop, add: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        add(name)
        serve(name, 8000 if name == "one" else 8001)
    assert "nothing of them is lost" in str(web_ui_home.line_of_down("one"))
    assert web_ui_home.line_of_down("other") is None
    with Ledger() as ledger:
        ledger.update("one", state="released")
    monkeypatch.setattr("gpubox.providers.local.LocalProvider.state", lambda *_: "running")
    board = Notes()
    web_ui_home.leave("one", board=board)
    web_ui_home.leave("other", board=board)
    assert urls(laptop.settings[-1]) == ["http://127.0.0.1:8001/v1"]
    assert len(laptop.settings) == 3
    # With nothing running there is nothing to bring in line, and whatever fails is only said.
    with Ledger() as ledger:
        ledger.update("two", state="released")
    laptop.failing = 1
    web_ui_home.leave("two", board=board)
    assert "still lists `two`: port taken; `gpubox up laptop` mends it" in board.notes[-1]
    assert load(web_ui_engines.box_file()).web_ui_settings is not None


def test_chats_can_be_read_while_the_box_is_off(
    laptop: Laptop, add: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add("one")

    def off(*_: object) -> dict[str, Any]:
        raise Unreachable("`one` is powered off")

    monkeypatch.setattr(web_ui_home, "status", off)
    with pytest.raises(Unreachable):
        web_ui_home.open_ui("one", board=Notes())
    serve("one", 8000)
    board = Notes()
    place = web_ui_home.open_ui("one", board=board)
    assert place is not None
    assert place.name == HOME_BOX
    assert "`one` is powered off" in board.notes[-1]
    assert web_ui_home.open_ui(HOME_BOX, board=board) is not None
    assert len(laptop.settings) == 3
