"""Attached boxes, and the registry of providers."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import Failed, Refused, UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.providers import PROVIDERS, Order, Rented, provider
from gpubox.providers.attach import AttachProvider, how_by_hand
from gpubox.providers.local import LocalProvider
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUTODL = "connect.westb.seetacloud.com"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def box_at(ledger: Ledger, **fields: object) -> BoxRecord:
    return ledger.add("demo", "attach", **fields)


def test_the_registry_knows_what_works_today() -> None:
    attach, local = provider("attach"), provider("local")
    assert isinstance(attach, AttachProvider)
    assert isinstance(local, LocalProvider)
    assert [(one.name, one.bills, one.releases) for one in map(provider, PROVIDERS)] == [
        ("attach", False, False),
        ("local", False, True),
        ("autodl", True, True),
        ("compshare", True, True),
        ("ec2", True, True),
    ]


def test_an_unknown_provider_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean `attach`"):
        provider("atach")
    with pytest.raises(UsageError, match=r"there is no provider `mars`$"):
        provider("mars")


def test_attach_rents_nothing_and_says_how_a_person_does() -> None:
    with pytest.raises(Refused, match="rents nothing") as caught:
        provider("attach").create(Order("demo", BoxFile(provider="attach")))
    assert 'gpubox add NAME "ssh -p PORT root@HOST"' in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_the_endpoint_is_the_ledgers(ledger: Ledger) -> None:
    record = box_at(ledger)
    with pytest.raises(Failed, match="not known") as caught:
        provider("attach").ready(record, print)
    assert "gpubox add demo" in str(caught.value.hint)
    record = ledger.update("demo", host=AUTODL, port=38076, user="root", proxy_jump="me@jump")
    assert provider("attach").ready(record, print).endpoint == Endpoint(AUTODL, 38076, "root", "me@jump")
    record = ledger.update("demo", port=None, user=None, proxy_jump=None)
    assert provider("attach").ready(record, print).endpoint == Endpoint(AUTODL, 22, "root")


@pytest.mark.parametrize(
    ("greeting", "state"),
    [
        (b"SSH-2.0-OpenSSH_8.9p1 Ubuntu\r\n", "running"),
        (b"HTTP/1.1 400 Bad Request\r\n", "unknown"),
        (b"", "unknown"),
    ],
)
def test_a_box_runs_when_an_ssh_server_greets(greeting: bytes, state: str, ledger: Ledger) -> None:
    with greeter(greeting) as port:
        assert provider("attach").state(box_at(ledger, host="127.0.0.1", port=port)) == state


def test_a_box_that_does_not_answer_may_be_off_or_behind_a_broken_network(ledger: Ledger) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound, not listening: nobody else gets the port, and it refuses.
        record = box_at(ledger, host="127.0.0.1", port=closed.getsockname()[1])
        assert provider("attach").state(record) == "unknown"


def test_a_silent_gateway_is_given_up_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubox.providers.attach._PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        record = box_at(ledger, host="127.0.0.1", port=silent.getsockname()[1])
        assert provider("attach").state(record) == "unknown"


def test_a_box_behind_a_jump_host_is_not_probed(ledger: Ledger) -> None:
    with greeter(b"SSH-2.0-x\r\n") as port:
        record = box_at(ledger, host="127.0.0.1", port=port, proxy_jump="me@jump")
        assert provider("attach").state(record) == "unknown"


def test_power_is_left_to_the_person_who_rents(ledger: Ledger) -> None:
    record, attach = box_at(ledger, host=AUTODL, port=38076), provider("attach")
    with pytest.raises(Refused, match="cannot stop `demo`") as off:
        attach.power_off(record)
    with pytest.raises(Refused, match="cannot start `demo`") as on:
        attach.power_on(record)
    assert "关机" in str(off.value.hint)
    assert "开机" in str(on.value.hint)
    assert 'gpubox add demo "ssh ..."' in str(on.value.hint)
    attach.release(record)  # Nothing is ours to give back.
    assert ledger.get("demo") == record


@pytest.mark.parametrize(
    ("host", "autodl"),
    [
        (AUTODL, True),
        ("region-1.autodl.com", True),
        ("seetacloud.com.example.org", False),
        ("notautodl.com", False),
        ("10.0.0.7", False),
        (None, False),
    ],
)
def test_what_to_click_depends_on_the_provider(host: str | None, autodl: bool, ledger: Ledger) -> None:
    words = how_by_hand(box_at(ledger, host=host), "release")
    assert ("autodl.com/console" in words) is autodl
    assert ("释放实例" in words) is autodl
    assert (host or "demo") in words


def test_a_password_is_not_shown_by_accident() -> None:
    rented = Rented(ref="pro-1", endpoint=Endpoint("h"), password="hush")
    assert "hush" not in f"{rented} {rented!r}"


@contextmanager
def greeter(words: bytes) -> Iterator[int]:
    """A server that says `words` to its first caller and hangs up; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(words)

        thread = threading.Thread(target=greet)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            with socket.create_connection(("127.0.0.1", port)) if thread.is_alive() else socket.socket():
                thread.join(30)
