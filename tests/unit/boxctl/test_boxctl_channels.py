"""What `boxctl send` shares among processes: each file once, and an end for those who answer when it ends."""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SECONDS = 60


def _row(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - columns of a manifest
    return {"absolute": f"/{number}", "size": 1000, "copy": None, "node": f"0:{number}", **more}


def test_what_is_shared() -> None:
    from boxctl.shares import Shares

    files = [_row(0), _row(1, size=1001), _row(2, copy="sqlite"), _row(3, node="0:0"), _row(4, size=0)]
    shares = Shares(files, 1000)
    assert [place for place, _ in shares.take()[1]] == [0, 4]
    assert shares.take() == (1, [])
    assert Shares([], 1000).take() == (0, [])


@pytest.mark.parametrize(("count", "size"), [(100_000, 0), (100_000, 4000), (3, 1 << 30)])
def test_their_numbers_fit_into_a_page(count: int, size: int) -> None:
    from boxctl.shares import Shares

    shares = Shares([_row(number, size=size) for number in range(count)], 1 << 30)
    seen: list[int] = []
    last = 0
    while (taken := shares.take())[1]:
        last = taken[0]
        seen += [place for place, _ in taken[1]]
    assert seen == list(range(count))
    assert last < 1024


def test_processes_take_each_share_once() -> None:
    from boxctl.shares import Shares

    shares = Shares([_row(number, size=200 << 10) for number in range(500)], 1 << 20)
    outcome, mine = os.pipe()
    for _ in range(4):
        if os.fork() == 0:
            while share := shares.take()[1]:
                os.write(mine, "".join(f"{place}\n" for place, _ in share).encode())
            os._exit(0)
    os.close(mine)
    with os.fdopen(outcome) as lines:
        assert sorted(int(line) for line in lines) == list(range(500))
    for _ in range(4):
        os.wait()


def test_channels_are_answered_until_their_owner_ends(tmp_path: Path) -> None:
    from boxctl.channels import Channels

    place = tmp_path / "s"
    channels = Channels(str(place))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600

    def serve(requests: Iterable[bytes], sink: int) -> None:
        for line in requests:
            os.write(sink, line.upper())

    channels.fork(2, serve)
    first, second = _connected(place), _connected(place)
    for connection in (first, second):
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"HELLO\n"
    # Who has lost a connection takes the next one.
    first.close()
    third = _connected(place)
    third.sendall(b"again\n")
    assert third.recv(100) == b"AGAIN\n"
    channels.close()
    assert not place.exists()
    for connection in (second, third):
        connection.close()
    assert sorted(os.wait()[1] for _ in range(2)) == [0, 0]


def test_who_answers_ends_with_its_owner(tmp_path: Path) -> None:
    from boxctl.channels import Channels

    alive, held = os.pipe()
    owner = os.fork()
    if owner == 0:
        Channels(str(tmp_path / "s")).fork(3, lambda _requests, _sink: None)
        os._exit(0)
    os.close(held)
    os.waitpid(owner, 0)
    ready, _, _ = select.select([alive], [], [], _SECONDS)
    assert ready
    assert os.read(alive, 1) == b""
    os.close(alive)


def _connected(place: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_SECONDS)
    # Unit tests may connect to addresses of this machine only, and a file is none.
    super(socket.socket, connection).connect(str(place))
    return connection
