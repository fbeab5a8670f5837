"""The first login: whose key, which password, and what is left on the box."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import asyncssh
import pytest

from free_ports import free_port
from gpubox.errors import AuthFailed, HostKeyChanged, Refused, Unreachable
from gpubox.remote import connect, explain
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.remote.host import Host
from gpubox.remote.identity import public_key
from gpubox.remote.login import Endpoint, Login

from .server import PASSWORD, USER, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .server import BoxServer


class Person:
    """Answers the questions of a first contact and counts them."""

    def __init__(self, password: str = PASSWORD, *, accepts: bool = True) -> None:
        self._password = password
        self._accepts = accepts
        self.asked = 0
        self.shown: list[tuple[str, str]] = []

    def password(self) -> str:
        self.asked += 1
        return self._password

    def accept(self, fingerprint: str, key: str) -> bool:
        self.shown.append((fingerprint, key))
        return self._accepts


def contact(server: BoxServer | Proxy, person: Person, pinned: str | None = None, *, may_ask: bool = True) -> str:
    return first_contact(
        "demo",
        Endpoint("127.0.0.1", server.port, USER),
        password=person.password if may_ask else None,
        pinned=pinned,
        accept=person.accept,
        identity_file=ensure_identity(),
    )


@pytest.fixture
def stranger(new_server: Callable[..., BoxServer]) -> BoxServer:
    """A server that does not know our key yet."""
    return new_server()


def test_password_once_then_our_key_alone(stranger: BoxServer) -> None:
    person = Person()
    key = contact(stranger, person)
    assert key == stranger.host_key
    assert person.shown == [(explain.fingerprint(stranger.host_key), stranger.host_key)]
    assert (person.asked, stranger.password_tries) == (1, 1)
    with Host(Login("demo", Endpoint("127.0.0.1", stranger.port, USER), ensure_identity(), key)) as box:
        assert box.run("echo in").stdout == "in\n"


def test_a_second_time_asks_nothing_and_adds_no_second_line(stranger: BoxServer) -> None:
    pinned = contact(stranger, Person())
    person = Person()
    assert contact(stranger, person, pinned) == pinned
    assert (person.asked, person.shown) == (0, [])
    assert stranger.authorized_keys.read_text() == public_key(ensure_identity()) + "\n"


def test_what_stands_in_authorized_keys_stays(stranger: BoxServer) -> None:
    ours = public_key(ensure_identity())
    stranger.authorized_keys.parent.mkdir(mode=0o755)
    # The last line has no newline, and our key stands there in a comment only.
    other = " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()) + " colleague"
    stranger.authorized_keys.write_text(f"# {ours}\n{other}")
    stranger.authorized_keys.chmod(0o664)
    contact(stranger, Person())
    assert stranger.authorized_keys.read_text() == f"# {ours}\n{other}\n{ours}\n"
    assert stranger.authorized_keys.stat().st_mode & 0o777 == 0o600
    assert stranger.authorized_keys.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_of_the_person_makes_the_password_unnecessary(stranger: BoxServer, home: Path) -> None:
    own = asyncssh.generate_private_key("ssh-ed25519")
    own.write_private_key(str(home / ".ssh" / "id_ed25519"))
    stranger.authorize(own.export_public_key().decode())
    person = Person()
    contact(stranger, person)
    assert person.asked == 0
    assert public_key(ensure_identity()) in stranger.authorized_keys.read_text()


def test_a_wrong_password_is_an_auth_failure(stranger: BoxServer) -> None:
    person = Person("wrong")
    with pytest.raises(AuthFailed, match="does not let `root` in with this password") as caught:
        contact(stranger, person)
    assert caught.value.exit_code == 4
    assert person.asked == 1
    assert not stranger.authorized_keys.exists()


def test_without_anyone_to_ask_it_says_where_to_run_it(stranger: BoxServer) -> None:
    with pytest.raises(AuthFailed, match="any key of yours") as caught:
        contact(stranger, Person(), may_ask=False)
    assert "in a terminal" in (caught.value.hint or "")


def test_a_host_key_that_is_not_accepted_gets_no_password(stranger: BoxServer) -> None:
    person = Person(accepts=False)
    with pytest.raises(Refused, match="nothing was sent"):
        contact(stranger, person)
    assert (person.asked, stranger.password_tries) == (0, 0)


def test_another_key_than_the_pinned_one_gets_no_password(stranger: BoxServer) -> None:
    pinned = stranger.host_key
    stranger.change_host_key()
    person = Person()
    with pytest.raises(HostKeyChanged):
        contact(stranger, person, pinned)
    assert (person.asked, person.shown, stranger.password_tries) == (0, [], 0)


def test_a_server_that_ignores_keys_is_found_out(new_server: Callable[..., BoxServer]) -> None:
    with pytest.raises(AuthFailed, match="its SSH server does not accept it") as caught:
        contact(new_server(ignores_keys=True), Person())
    assert "PubkeyAuthentication" in (caught.value.hint or "")


def test_logins_dropped_at_the_door_do_not_ask_twice(stranger: BoxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "RETRY_AFTER", (0.01, 0.01))
    way = Proxy(stranger.port)
    way.drop_next = 1
    person = Person()
    contact(way, person)
    way.stop()
    assert (person.asked, len(person.shown)) == (1, 1)


def test_a_closed_port_is_not_taken_for_a_wrong_key() -> None:
    person = Person()
    with pytest.raises(Unreachable, match="refuses connections"):
        first_contact(
            "demo",
            Endpoint("127.0.0.1", free_port(), USER),
            password=person.password,
            pinned=None,
            accept=person.accept,
            identity_file=ensure_identity(),
        )
    assert person.asked == 0


def test_the_password_is_in_no_log(stranger: BoxServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        contact(stranger, Person())
    assert caplog.records
    assert PASSWORD not in caplog.text


def test_the_identity_is_made_once_and_private() -> None:
    first = ensure_identity()
    text = first.read_text()
    first.chmod(0o644)
    assert ensure_identity() == first
    assert first.read_text() == text
    assert first.stat().st_mode & 0o777 == 0o600
    assert first.with_name("id_ed25519.pub").read_text() == public_key(first) + "\n"
    assert public_key(first).startswith("ssh-ed25519 ")
    assert public_key(first).endswith(" gpubox")
