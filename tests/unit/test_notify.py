"""Messages: where they go, what they say, and that no secret of a destination is in anybody's words."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gpubox import accounts, notify
from gpubox.cli.group import gpubox
from gpubox.errors import AuthFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "s3cr3t"


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web hook: its place, and what it was sent."""
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(json.loads(body))
            self.send_response(403 if "refuse" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notify.DESTINATIONS.variable, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (
            lambda: notify.got_box(
                "a", kind="RTX 4090 x 2", price=Decimal("3.96"), currency="CNY", waited=timedelta(hours=1, minutes=40)
            ),
            ["a is rented: RTX 4090 x 2, 3.96 CNY an hour", "1 h 40 min"],
        ),
        (
            lambda: notify.balance_low("autodl", Decimal("4.20"), "CNY", timedelta(hours=2)),
            ["autodl account has 4.20 CNY left", "lasts 2 h"],
        ),
    ],
)
def test_what_is_said(
    say: Callable[[], notify.Sent],
    words: list[str],
    hook: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, got = hook
    monkeypatch.setenv("GPUBOX_NOTIFY", f"json://{place}/one?key={SECRET},http://{place}/two")
    assert say() == notify.Sent(("json", "http"))
    assert len(got) == 2
    assert not [part for part in words if part not in got[0]["message"] + got[0]["title"]], got


def test_without_a_destination_nothing_happens() -> None:
    assert notify.send("title", "words") == notify.Sent()
    with pytest.raises(UsageError, match="nowhere"):
        notify.test()


def test_what_goes_wrong_is_a_sentence_and_never_an_error(
    hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place, got = hook
    monkeypatch.setenv("GPUBOX_NOTIFY", f"json://{place}/refuse/{SECRET},nonsense://{SECRET},json://{place}/ok")
    sent = notify.send("title", "words")
    assert sent.troubles == (
        "destination 1 (`json`) did not take it",
        "destination 2 (`nonsense`) is not as apprise writes it",
    )
    # The last one got it all the same.
    assert len(got) == 2
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err


def test_a_file_that_others_can_read_is_refused_and_told() -> None:
    path = accounts.file_of(notify.DESTINATIONS)
    path.parent.mkdir(parents=True)
    path.write_text(f"json://127.0.0.1:9/{SECRET}\n")
    path.chmod(0o644)
    with pytest.raises(AuthFailed):
        notify.destinations()
    sent = notify.send("title", "words")
    assert "other users" in sent.troubles[0]
    path.chmod(0o600)
    assert notify.destinations() == [f"json://127.0.0.1:9/{SECRET}"]


def test_a_key_without_its_scheme_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBOX_NOTIFY", SECRET)
    with pytest.raises(UsageError) as caught:
        notify.destinations()
    assert SECRET not in f"{caught.value} {caught.value.hint}"


def test_the_command(hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    place, got = hook
    runner = CliRunner()
    nothing = runner.invoke(gpubox, ["notify"])
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "GPUBOX_NOTIFY" in nothing.stderr
    monkeypatch.setenv("GPUBOX_NOTIFY", f"json://{place}/{SECRET}")
    listed = runner.invoke(gpubox, ["notify", "--json"])
    assert json.loads(listed.stdout) == {"destinations": ["json"], "troubles": []}
    assert not got
    tested = runner.invoke(gpubox, ["notify", "--test"])
    assert (tested.exit_code, tested.stdout) == (0, "json\n")
    assert len(got) == 1
    monkeypatch.setenv("GPUBOX_NOTIFY", f"json://{place}/refuse/{SECRET}")
    failed = runner.invoke(gpubox, ["notify", "--test"])
    assert failed.exit_code == 1
    assert SECRET not in failed.output
