"""A box on loopback: an SSH server that knows our key, behind a proxy that can misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh
import pytest

from gpubox.remote.login import Endpoint, Login

from .server import USER, BoxServer, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch home for gpubox and for the person: none of the machine's keys, agent or ssh configuration."""
    person = tmp_path / "person"
    (person / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "gpubox"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return person


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., BoxServer]]:
    """Makes SSH servers, each with its own home; all are stopped at the end."""
    servers: list[BoxServer] = []

    def make(**options: object) -> BoxServer:
        servers.append(BoxServer(tmp_path / f"box{len(servers)}", **options))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def server(new_server: Callable[..., BoxServer], identity: Path) -> BoxServer:
    """A server that our key opens."""
    box = new_server()
    box.authorize(identity.with_name(identity.name + ".pub").read_text())
    return box


@pytest.fixture
def proxy(server: BoxServer) -> Iterator[Proxy]:
    """The way to the server, which can be cut, frozen or made to drop logins."""
    way = Proxy(server.port)
    yield way
    way.stop()


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our private key."""
    path = tmp_path_factory.mktemp("identity") / "id_ed25519"
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(path))
    key.write_public_key(f"{path}.pub")
    path.chmod(0o600)
    return path


@pytest.fixture
def login(server: BoxServer, proxy: Proxy, identity: Path) -> Login:
    """The way in through the proxy."""
    return Login("demo", Endpoint("127.0.0.1", proxy.port, USER), identity, server.host_key)
