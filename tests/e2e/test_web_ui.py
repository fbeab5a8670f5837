"""The web UI as its people have it: a link, a browser, an agent that answers, and a line that breaks meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from box.testbox import Bind, wheelhouse
from e2e.argv import Argvs
from e2e.browser import PATIENCE_MS
from e2e.cli import Gpubox, wait_for
from e2e.web_page import WebPage
from gpubox.remote import tunnel_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.browser import Window
    from gpubox.remote.process import Process

CHECKOUT = Path(__file__).resolve().parents[2]
# Where a person finds the pictures of the last run; git ignores it.
PICTURES = CHECKOUT / "build" / "pictures"
SLOW_ENGINE = CHECKOUT / "tests/box/standin_engine.py"
WORDS, PAUSE = 100, 0.05
LAST_WORD = f" w{WORDS}"
ENGINE_KEY, SLOW_KEY = "sk-story-vllm-hunter2", "sk-story-slow-hunter2"
EMAIL = "me@example.com"
AGENT = "小箱"
BOX_FILE = f"""
provider: attach
engine: vllm
model: small-gpt
vllm: {{build: cpu, max_model_len: 1024, enforce_eager: true, cpu_kvcache_space: 1, api_key: STORY_ENGINE_KEY}}
web_ui: {{admin_email: {EMAIL}, engines: [{{url: "http://127.0.0.1:9102/v1", api_key: STORY_SLOW_KEY}}]}}
agents: [{{name: {AGENT}, system_prompt: 你叫小箱，请用简短的话回答。, parameters: {{temperature: 0}}}}]
"""


@dataclass
class Story:
    """A box whose web UI is up, and the browser that shows it through the tunnel."""

    gpubox: Gpubox
    box: TestBox
    browser: Window
    url: str
    password: str

    @property
    def tunnel(self) -> tunnel_files.State:
        """What the tunnel's daemon has written last."""
        state = tunnel_files.read_state(self.gpubox.home / ".local/share/gpubox/boxes/mybox")
        assert state is not None
        return state

    def connected(self, *, after: int) -> bool:
        """Whether the tunnel is back, more often than `after` times."""
        return self.tunnel.state == "connected" and self.tunnel.reconnects > after

    def page(self) -> WebPage:
        """A page on which the admin has signed in."""
        page = WebPage(self.browser.page(), self.url)
        page.sign_in(EMAIL, self.password)
        return page


@pytest.fixture
def story(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], browser: Window, tmp_path: Path) -> Story:
    """`gpubox up` of a box with vLLM, its small model, a slow engine beside it, and an agent."""
    box = boxes(**_wheels(offline))
    gpubox("add", "mybox", box.ssh_line, "--yes", stdin=f"{box.password}\n")
    gpubox.env |= {"STORY_ENGINE_KEY": ENGINE_KEY, "STORY_SLOW_KEY": SLOW_KEY}
    gpubox.box_file("mybox", BOX_FILE)
    box.write("/root/slow.py", SLOW_ENGINE.read_text())
    box.write("/root/slow.sh", f"exec python3 /root/slow.py 9102 {SLOW_KEY} /root/asked slow {WORDS} {PAUSE}")
    box.exec("setsid sh /root/slow.sh </dev/null >/dev/null 2>&1 &")
    with Argvs() as argvs:
        up = gpubox("up", "mybox")
        url, password = gpubox("open", "mybox", "--no-browser", "--show-password").stdout.split()
    assert f"open-webui: {url}\n" in up.stdout
    assert f"sign in as {EMAIL}" in up.stderr
    # The stand-in has its key on its command line, being no part of gpubox.
    ours = "\n".join(line for line in argvs.text.splitlines() if "/root/slow.py" not in line)
    assert "open-webui serve" in ours
    secret_key = box.read("/root/autodl-tmp/gpubox/open-webui/secret-key").strip()
    assert not [secret for secret in (password, secret_key, ENGINE_KEY, SLOW_KEY) if secret in ours + up.stderr]
    return Story(gpubox, box, browser, url, password)


@pytest.mark.timeout(1800)
def test_a_browser_at_the_web_ui_through_a_tunnel_that_breaks(story: Story) -> None:
    page = story.page()
    _an_agent_answers(story, page)
    _only_this_machine_and_the_box_itself_can_reach_it(story)
    _killed_in_the_middle_of_an_answer(story, page)
    _asleep_until_the_box_gave_up(story, page)
    _the_engine_is_down(story, page)
    _another_port(story)
    assert page.never_reloaded
    assert story.browser.strayed == []


def _an_agent_answers(story: Story, page: WebPage) -> None:
    assert page.choose(AGENT) == ["small-gpt", "slow", AGENT]
    texts = page.growth(page.ask("你是谁？"), "训练而成。")
    # It is soon done: the page may draw several of its thirty pieces at once.
    pieces = [frame for frame in story.browser.frames if "response.output_text.delta" in frame]
    assert len(pieces) > 10, "the answer did not come in pieces"
    assert len(texts) > 1, f"the page showed the answer all at once: {texts}"
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1].startswith("我叫小箱")
    page.growth(page.ask("gpubox 是什么？"), "还回去。")
    assert page.page.title().startswith("你是谁？")
    assert page.errors == []
    page.shot(PICTURES / "web-ui.png")


def _only_this_machine_and_the_box_itself_can_reach_it(story: Story) -> None:
    listening = story.box.exec("ss -Htln").stdout.splitlines()
    assert len(listening) >= 3
    assert {line.split()[3].rsplit(":", 1)[0] for line in listening} <= {"127.0.0.1", "[::1]"}
    assert _listening_at_home(story.gpubox) == {"127.0.0.1"}
    # The engine wants its key, from the web UI, too.
    models = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:8000/v1/models"
    assert story.box.exec(models).stdout == "401"


def _listening_at_home(gpubox: Gpubox) -> set[str]:
    """Addresses on which anything of this HOME listens: the tunnel's own processes."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(gpubox.home):
                found |= {each.laddr.ip for each in process.net_connections("inet") if each.status == "LISTEN"}
        except psutil.Error:
            continue
    return found


def _killed_in_the_middle_of_an_answer(story: Story, page: WebPage) -> None:
    page.new_chat()
    page.choose("slow")
    answer = page.ask("数到一百")
    expect(answer).to_contain_text(" w20 ", timeout=PATIENCE_MS)
    before = story.tunnel
    _kill(before.child)
    wait_for("the tunnel to be back", lambda: story.connected(after=before.reconnects))
    # The box went on, and the page gets it all.
    page.growth(answer, LAST_WORD)
    assert len(page.growth(page.ask("再数一次"), LAST_WORD)) > WORDS / 4


def _asleep_until_the_box_gave_up(story: Story, page: WebPage) -> None:
    """A laptop sleeps for minutes: its side of the tunnel stands still, and the box ends its side in the meantime."""
    before = story.tunnel
    with _stopped(before.daemon, before.child):
        assert story.box.kill_connections() > 0
        sockets = len(story.browser.sockets)
    wait_for("the tunnel to be back", lambda: story.connected(after=before.reconnects))
    page.growth(page.ask("醒了吗？"), LAST_WORD)
    assert len(story.browser.sockets) > sockets


def _the_engine_is_down(story: Story, page: WebPage) -> None:
    boxctl = "/root/autodl-tmp/gpubox/bin/boxctl"
    page.new_chat()
    page.choose(AGENT)
    page.growth(page.ask("你是谁？"), "训练而成。")
    assert page.errors == []
    assert story.box.exec(f"{boxctl} service stop vllm").exit_code == 0
    page.growth(page.ask("你叫什么？"), "Server Connection Error")
    assert "Server Connection Error" in "".join(page.errors)
    page.shot(PICTURES / "engine-down.png")
    status = json.loads(story.gpubox("status", "mybox", "--json").stdout)
    (engine,) = [item for item in status["services"] if item["name"] == "vllm"]
    assert engine["state"] == "stopped"
    assert "vllm" in story.gpubox("open", "mybox", "--no-browser").stderr
    assert story.box.exec(f"{boxctl} service start vllm").exit_code == 0


def _another_port(story: Story) -> None:
    """Somebody else has the port now: the next one, where answers appear as well."""
    taken = int(story.url.rpartition(":")[2])
    story.gpubox("tunnel", "mybox", "--stop")
    with ExitStack() as stack:
        # Unless another test was quicker, which is as good.
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", taken)))
        story.url = story.gpubox("open", "mybox", "--no-browser").stdout.strip()
        assert int(story.url.rpartition(":")[2]) in range(taken + 1, 3020)
        page = story.page()
        page.choose("slow")
        page.growth(page.ask("这里呢？"), LAST_WORD)
        assert page.errors == []


def _kill(process: Process | None) -> None:
    assert process is not None
    assert process.alive()
    os.kill(process.pid, signal.SIGKILL)


@contextmanager
def _stopped(*processes: Process | None) -> Iterator[None]:
    """These stand still meanwhile."""
    living = [process for process in processes if process is not None and process.alive()]
    assert len(living) == len(processes)
    for process in living:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in living:
            os.kill(process.pid, signal.SIGCONT)


def _wheels(offline: Callable[..., Wishes]) -> Wishes:
    """Those of other stories and those of the role's test, side by side: nothing is fetched twice."""
    wishes, further = offline("controller", "small_gpt", "vllm"), offline("controller", "open_webui")
    (bind,) = further["binds"]
    aside = f"{wheelhouse.TARGET}-web-ui"
    conf = f"[global]\nno-index = true\nfind-links = {wheelhouse.TARGET} {aside}\n"
    return {"binds": (*wishes["binds"], Bind(bind.source, aside)), "files": {"/etc/pip.conf": conf}}
