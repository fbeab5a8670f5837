"""Commands over one connection, and each way in which that connection can fail."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from free_ports import free_port
from gpubox.errors import AuthFailed, HostKeyChanged, LinkLost, RemoteCommandFailed, Unreachable
from gpubox.remote import channel, connect, explain, host, liveness
from gpubox.remote.host import Host
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpubox.remote.login import Login

    from .server import BoxServer, Proxy


@pytest.fixture
def box(login: Login) -> Iterator[Host]:
    with Host(login) as connected:
        yield connected


def at(login: Login, **changes: object) -> Login:
    return dataclasses.replace(login, endpoint=dataclasses.replace(login.endpoint, **changes))  # type: ignore[arg-type]


def test_run_gives_both_streams_and_the_code(box: Host) -> None:
    result = box.run("echo 你好; echo oops >&2; exit 3", check=False)
    assert result == host.Result(3, "你好\n", "oops\n")


def test_many_runs_use_one_connection(box: Host, proxy: Proxy) -> None:
    for number in range(5):
        assert box.run(f"echo {number}").stdout == f"{number}\n"
    assert proxy.accepted == 1


def test_bytes_that_are_no_utf8_are_replaced(box: Host) -> None:
    assert box.run(r"printf 'a\377b'").stdout == "a\ufffdb"


@pytest.mark.parametrize("size", [0, 1, 16_000, 3_000_000])
def test_stdin_of_any_size_arrives_while_output_comes_back(box: Host, size: int) -> None:
    sent = b"x" * size
    assert box.run("cat", stdin=sent).stdout.encode() == sent


def test_a_command_that_ignores_its_stdin_still_succeeds(box: Host) -> None:
    assert box.run("echo done", stdin=b"y" * 5_000_000).stdout == "done\n"


def test_a_failed_command_is_an_error_with_its_last_words(box: Host) -> None:
    with pytest.raises(RemoteCommandFailed, match="exit code 7") as caught:
        box.run("echo first; echo the disk is full >&2; exit 7")
    assert "the disk is full" in caught.value.message
    assert caught.value.where == "demo"


def test_a_command_ended_by_a_signal_is_a_failure_and_not_a_lost_link(box: Host) -> None:
    assert box.run("kill -KILL $$", check=False).exit_code == 128


def test_a_run_that_takes_too_long_is_ended_on_the_box(box: Host, server: BoxServer) -> None:
    with pytest.raises(Unreachable, match=r"did not end within 0\.5 s"):
        box.run("sleep 600", timeout=0.5)
    until(lambda: not server.children)
    assert box.run("echo still here").stdout == "still here\n"


def test_a_run_that_never_stops_talking_is_ended(box: Host, server: BoxServer) -> None:
    with pytest.raises(Unreachable, match=r"did not end within 0\.5 s"):
        box.run("yes", timeout=0.5)
    until(lambda: not server.children)


def test_stderr_comes_through_where_the_mark_does_not(box: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_MARK", "something-else")
    assert box.run("printf no-newline >&2").stderr.splitlines()[1:] == ["no-newline"]


def test_what_start_up_files_say_on_stderr_stays(box: Host, server: BoxServer) -> None:
    assert box.run("echo gpubox-pid 12 >&2; echo x >&2").stderr == "gpubox-pid 12\nx\n"


def test_stream_hands_over_lines_as_they_come(box: Host) -> None:
    lines: list[str] = []
    first = threading.Event()

    def take(line: str) -> None:
        lines.append(line)
        first.set()

    def answer() -> None:
        # The remote command waits for the file that is made when its first line has arrived here.
        first.wait(60)
        box.run("touch seen")

    helper = threading.Thread(target=answer)
    helper.start()
    code = box.stream("echo 一; until test -e seen; do sleep 0.05; done; printf 'two\\nrest'; exit 4", take, silence=60)
    helper.join()
    assert (code, lines) == (4, ["一", "two", "rest"])


def test_a_silent_stream_is_a_lost_link_and_its_command_is_ended(box: Host, server: BoxServer) -> None:
    with pytest.raises(LinkLost, match=r"nothing came for 0\.5 s"):
        box.stream("echo one; sleep 600", lambda _line: None, silence=0.5)
    until(lambda: not server.children)


def test_an_exception_in_the_reader_ends_the_stream(box: Host, server: BoxServer) -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        box.stream("while echo tick; do sleep 0.05; done", stop)
    until(lambda: not server.children)


def test_a_cut_connection_is_a_lost_link_and_the_next_run_connects_anew(box: Host, proxy: Proxy) -> None:
    def cut(_line: str) -> None:
        proxy.cut()

    with pytest.raises(LinkLost) as caught:
        box.stream("while echo tick; do sleep 0.05; done", cut, silence=60)
    assert caught.value.exit_code == 5
    assert box.run("echo back").stdout == "back\n"
    assert proxy.accepted == 2


def test_retry_runs_a_safe_command_again_after_a_dropped_link(box: Host, proxy: Proxy, server: BoxServer) -> None:
    box.run("true")
    cutter = cut_when(proxy, (server.home / "ran").exists)
    command = "if test -e ran; then echo second; else touch ran; sleep 600; fi"
    assert box.run(command, retry=True).stdout == "second\n"
    cutter.join()


def test_without_retry_a_dropped_link_is_told(box: Host, proxy: Proxy, server: BoxServer) -> None:
    cutter = cut_when(proxy, (server.home / "ran").exists)
    with pytest.raises(LinkLost):
        box.run("touch ran; sleep 600")
    cutter.join()


def test_a_frozen_link_is_found_although_nobody_closed_it(
    login: Login, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert liveness.KEEPALIVE + liveness.SILENCE <= 15

    monkeypatch.setattr(connect, "watch_liveness", lambda t: liveness.watch_liveness(t, interval=0.2, silence=0.5))
    with Host(login) as box:
        box.run("true")
        proxy.freeze()
        begun = time.monotonic()
        with pytest.raises(LinkLost):
            box.run("sleep 600", timeout=600)
        assert time.monotonic() - begun < 30
        proxy.thaw()


def test_an_idle_but_living_link_stays(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "watch_liveness", lambda t: liveness.watch_liveness(t, interval=0.1, silence=0.9))
    with Host(login) as box:
        assert box.run("sleep 2; echo alive").stdout == "alive\n"


def test_put_writes_whole_files_with_their_mode(box: Host, server: BoxServer, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(range(256)) * 8000)
    box.put(source, f"{server.home}/new dir/it's big", mode=0o640)
    target = server.home / "new dir" / "it's big"
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o640
    box.put(b"short", str(target))
    assert target.read_bytes() == b"short"
    assert target.stat().st_mode & 0o777 == 0o600


def test_put_leaves_the_old_file_when_the_link_is_cut_and_does_not_come_back(
    login: Login, server: BoxServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "RETRY_AFTER", (0.01,))
    target = server.home / "file"
    target.write_text("old")
    with Host(login) as box:
        box.run("true")
        proxy.drop_next = 1000
        cutter = cut_when(proxy, lambda: any(server.home.glob("file.part.*")))
        with pytest.raises(Unreachable):
            box.put(b"n" * 60_000_000, str(target))
        cutter.join()
    until(lambda: not list(server.home.glob("file.part.*")))
    assert target.read_text() == "old"


def test_put_brings_the_file_when_the_link_comes_back(login: Login, server: BoxServer, proxy: Proxy) -> None:
    target, data = server.home / "file", b"n" * 60_000_000
    with Host(login) as box:
        box.run("true")
        cutter = cut_when(proxy, lambda: any(server.home.glob("file.part.*")))
        box.put(data, str(target))
        cutter.join()
    assert target.read_bytes() == data


def test_put_where_nothing_can_be_written_says_so(box: Host, server: BoxServer) -> None:
    (server.home / "file").write_text("")
    with pytest.raises(RemoteCommandFailed, match="write "):
        box.put(b"x", f"{server.home}/file/below")


def test_logins_that_are_dropped_at_the_door_are_tried_again(
    login: Login, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "RETRY_AFTER", (0.01, 0.01, 0.01))
    proxy.drop_next = 2
    with Host(login) as box:
        assert box.run("echo in").stdout == "in\n"
    assert proxy.accepted == 3


def test_a_door_that_always_drops_is_told_at_last(login: Login, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "RETRY_AFTER", (0.01,))
    proxy.drop_next = 99
    with Host(login) as box, pytest.raises(Unreachable, match="accepts the connection, but SSH does not answer"):
        box.run("true")
    assert proxy.accepted == 2


def test_a_changed_host_key_stops_everything(login: Login, server: BoxServer) -> None:
    server.change_host_key()
    with Host(login) as box, pytest.raises(HostKeyChanged) as caught:
        box.run("true")
    error = caught.value
    assert explain.fingerprint(login.host_key) in error.message
    assert explain.fingerprint(server.host_key) in error.message
    assert "gpubox add demo --accept-new-key" in (error.hint or "")
    assert error.exit_code == 4
    assert server.logins == []


def test_the_fingerprint_is_ssh_keygens(server: BoxServer, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(server.host_key)
    told = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert explain.fingerprint(server.host_key) == told.stdout.split()[1]


def test_a_key_that_the_box_does_not_know(login: Login, server: BoxServer) -> None:
    server.forget_keys()
    with Host(login) as box, pytest.raises(AuthFailed, match="does not let `root` in with our key") as caught:
        box.run("true")
    assert "gpubox add demo" in (caught.value.hint or "")


def test_a_connection_that_drops_in_the_middle_of_the_login_is_no_wrong_key(
    login: Login, server: BoxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "RETRY_AFTER", (0.01,))
    server.authorized_keys.write_text("")  # asyncssh hangs up at that.
    with Host(login) as box, pytest.raises(Unreachable, match="closed the connection in the middle of the login"):
        box.run("true")


def test_a_closed_port(login: Login) -> None:
    with Host(at(login, port=free_port())) as box, pytest.raises(Unreachable, match="refuses connections to port"):
        box.run("true")


def test_a_host_name_that_does_not_exist(login: Login) -> None:
    with Host(at(login, host="no-such-host.invalid")) as box, pytest.raises(Unreachable, match="not known to the DNS"):
        box.run("true")


def test_a_host_that_is_down(login: Login) -> None:
    with socket.socket() as full:
        # A listener with a full backlog drops SYNs, which looks like a host that is switched off.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        away = Host(at(login, port=port), connect_timeout=0.5)
        with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
            away.run("true")
        for sock in waiting:
            sock.close()


def test_a_port_that_never_greets(login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        away = Host(at(login, port=mute.getsockname()[1]), connect_timeout=1)
        with pytest.raises(Unreachable, match="no greeting within 1 s"):
            away.run("true")


def test_importing_the_package_does_not_import_the_ssh_libraries() -> None:
    code = "import sys, gpubox.remote.host; print({'fabric', 'paramiko'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def cut_when(proxy: Proxy, condition: Callable[[], object]) -> threading.Thread:
    def work() -> None:
        until(condition)
        proxy.cut()

    cutter = threading.Thread(target=work)
    cutter.start()
    return cutter
