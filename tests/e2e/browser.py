"""A real Chromium, the one of Debian, driven by Playwright: it reaches this machine and nothing else.

Playwright drives any Chromium over a pipe, waits by itself for what is not on the page yet, sees every request and
websocket, and its wheel brings all that it needs. Selenium is a quarter of its size (12 MB and 9 MB of driver instead
of 53), but its driver listens on a port, is of one version of Chromium only, and leaves the waiting to the test.
"""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import ViewportSize, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request, WebSocket

# What Debian and others call it.
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZE = ViewportSize(width=1280, height=800)
# Long, and never waited out: the machine may be busy with other tests.
PATIENCE_MS = 60_000.0
_OURS = ("http://localhost:", "http://127.0.0.1:", "ws://localhost:", "ws://127.0.0.1:", "data:", "blob:")


class NoBrowser(Exception):
    """There is no Chromium here; the text says how to get one."""


class Window:
    """A browser; `requests` are the addresses that its pages asked, `sockets` those of websockets, `frames` what came
    through these."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.requests: list[str] = []
        self.sockets: list[str] = []
        self.frames: list[str] = []

    def page(self) -> Page:
        """A new page of somebody who was never here: no cookie, nothing kept."""
        context = self._browser.new_context(viewport=SIZE, locale="en-US")
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", self._asked)
        page = context.new_page()
        page.on("websocket", self._opened)
        return page

    @property
    def strayed(self) -> list[str]:
        """What a page asked of anybody but this machine; it did not get there."""
        return [url for url in self.requests if not url.startswith(_OURS)]

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _opened(self, opened: WebSocket) -> None:
        self.requests.append(opened.url)
        self.sockets.append(opened.url)
        opened.on("framereceived", lambda frame: self.frames.append(str(frame)))


def chromium() -> str:
    """Where Chromium is; `GPUBOX_TEST_CHROMIUM` names another one. Raises `NoBrowser`."""
    for name in (os.environ.get("GPUBOX_TEST_CHROMIUM", ""), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    raise NoBrowser(f"no Chromium here (looked for {', '.join(NAMES)}); on Debian: `apt-get install chromium`")


@contextmanager
def window() -> Iterator[Window]:
    """A browser without a screen; it is gone at the end, whatever happened. Raises `NoBrowser`."""
    program = chromium()
    with _nowhere() as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # Its own sandbox needs what root in a container does not have; /dev/shm may be small there, too.
            chromium_sandbox=False,
            # Chromium has calls of its own to make (updates, accounts, forms): none leaves this machine. Loopback
            # addresses are asked without a proxy.
            args=["--disable-dev-shm-usage", f"--proxy-server=127.0.0.1:{port}"],
        )
        try:
            yield Window(browser)
        finally:
            browser.close()


@contextmanager
def _nowhere() -> Iterator[int]:
    """A port of 127.0.0.1 where every connection is refused, and that nobody else can take."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
