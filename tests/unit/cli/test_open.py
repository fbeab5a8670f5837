"""What is said of a web UI, and what is not said where others could read it."""

from __future__ import annotations

import http.server
import json
import threading
from typing import TYPE_CHECKING

import pytest

from gpubox import web_ui, web_ui_secrets
from gpubox.cli.web_ui import tell
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.web_ui import Place
from gpubox.web_ui_secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "hunter2-made-up"


class Door(http.server.BaseHTTPRequestHandler):
    """A web UI that starts, and whose sign-in knows one password."""

    asked = 0

    def do_POST(self) -> None:
        """A sign-in."""
        form = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = form == {"email": "me@example.com", "password": "the-right-one"}
        self.send_response(429 if form["password"] == "once-too-often" else 200 if known else 400)
        self.end_headers()

    def do_GET(self) -> None:
        """Its health, which comes at the third question."""
        type(self).asked += 1
        self.send_response(200 if self.asked > 2 else 503)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def place() -> Iterator[Place]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    web_ui_secrets.replace("mybox", Secrets(PASSWORD, "key"))
    yield Place("mybox", f"http://localhost:{server.server_port}", "me@example.com", "box", "it runs on the box")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_new_password_is_shown_once_at_a_terminal(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    tell(place, made=True)
    said = capsys.readouterr()
    assert f"sign in as me@example.com with the password {PASSWORD}\n" in said.err
    assert "gpubox open mybox --show-password" in said.err
    assert "it runs on the box" in said.err
    tell(place, made=False)
    assert PASSWORD not in capsys.readouterr().err
    assert said.out == ""


def test_without_a_terminal_it_is_never_shown(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    tell(place, made=True)
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err
    assert "gpubox open mybox --show-password" in said.err


def test_only_a_password_that_the_web_ui_takes_is_kept(place: Place) -> None:
    for wrong, error in (("not-this-one", AuthFailed), ("once-too-often", AuthFailed), ("", UsageError)):
        with pytest.raises(error) as refused:
            web_ui.set_password(place, wrong)
        assert not wrong or wrong not in str(refused.value)
        assert web_ui.password("mybox") == PASSWORD
    web_ui.set_password(place, "the-right-one")
    assert web_ui_secrets.of("mybox") == Secrets("the-right-one", "key")


def test_one_that_nobody_can_check_is_not_kept(place: Place) -> None:
    gone = Place("mybox", "http://localhost:1", "me@example.com", "box", "")
    with pytest.raises(Unreachable, match="does not answer"):
        web_ui.set_password(gone, "the-right-one")
    assert web_ui.password("mybox") == PASSWORD


def test_one_that_starts_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "asked", 0)
    port = int(place.url.rpartition(":")[2])
    said: list[str] = []
    web_ui.wait_until_it_answers("mybox", port, say=said.append)
    web_ui.wait_until_it_answers("mybox", port, say=said.append)
    assert (Door.asked, said) == (4, ["waiting for the web UI to start"])
    with pytest.raises(Failed, match="does not answer") as failed:
        web_ui.wait_until_it_answers("mybox", 1, say=said.append, patience=0)
    assert "gpubox status mybox" in str(failed.value.hint)


def test_no_password_is_kept_of_a_box_that_has_no_web_ui() -> None:
    with pytest.raises(UsageError, match="no password of the web UI of `other`"):
        web_ui.password("other")
