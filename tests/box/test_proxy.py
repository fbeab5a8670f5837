"""The proxy that stands for a slow or bad line."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client:
                try:
                    while data := client.recv(1 << 16):
                        client.sendall(data)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _open(line: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=30)


def _round_trip(client: socket.socket, data: bytes = b"x") -> float:
    began = time.perf_counter()
    client.sendall(data)
    back = b""
    while len(back) < len(data):
        back += client.recv(1 << 20)
    assert back == data
    return time.perf_counter() - began


def test_it_delays_each_way_and_a_new_connection_by_a_round_trip(echo: int) -> None:
    with Proxy(echo, delay=0.05) as line, _open(line) as client:
        assert _round_trip(client) >= 0.2
        assert min(_round_trip(client) for _ in range(3)) >= 0.1
        line.delay(0)
        assert min(_round_trip(client) for _ in range(10)) < 0.1


def test_a_long_line_is_not_a_thin_one(echo: int) -> None:
    data = bytes(range(256)) * (4 << 12)  # 4 MiB
    with Proxy(echo, delay=0.05) as line, _open(line) as client:
        threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
        back = bytearray()
        while len(back) < len(data):
            back += client.recv(1 << 20)
        assert back == data
        assert line.counts() == {"accepted": 1, "live": 1, "up": len(data), "down": len(data)}


def test_a_cut_resets_open_connections_and_takes_new_ones(echo: int) -> None:
    with Proxy(echo) as line, _open(line) as client:
        _round_trip(client)
        assert line.cut() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with _open(line) as again:
            _round_trip(again)


def test_a_frozen_line_delivers_when_it_heals(echo: int) -> None:
    with Proxy(echo) as line, _open(line) as client:
        _round_trip(client)
        line.freeze()
        client.sendall(b"late")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(1)
        line.heal()
        client.settimeout(30)
        assert client.recv(4) == b"late"
        line.freeze(0.3)
        _round_trip(client)


def test_it_refuses_and_heals_on_the_same_port(echo: int) -> None:
    with Proxy(echo) as line, _open(line) as client:
        _round_trip(client)
        line.refuse()
        with pytest.raises(ConnectionRefusedError):
            _open(line)
        _round_trip(client)  # what is open stays
        line.heal()
        with _open(line) as again:
            _round_trip(again)


def test_a_dead_target_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Proxy(port) as line, _open(line) as client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_an_end_of_one_side_reaches_the_other(echo: int) -> None:
    with Proxy(echo) as line, _open(line) as client:
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(16):
            got += data
        assert got == b"last"


def test_its_process_ends_with_it(echo: int) -> None:
    line = Proxy(echo)
    line.close()
    with pytest.raises(ConnectionRefusedError):
        _open(line)
