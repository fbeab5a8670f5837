"""How a backup reaches a box, and what is left when it does not: logins, channels, half-made boxes, leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy
from e2e.cli import Gpubox
from gpubox import backup, backups
from gpubox.converge.progress import Board
from gpubox.errors import RemoteCommandFailed, Unreachable
from gpubox.ledger import Ledger
from gpubox.remote import ssh_config
from gpubox.remote.login import Login
from gpubox.remote.transfer_line import Shared
from keeping.box import ROOT, enroll, fill, kept_box, python
from keeping.trouble import MIB, RESULTS, Cutting, Interrupting, Telling
from waits import until

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox

_MANY = f"import os\nfor n in range(300): open(f'{RESULTS}/{{n}}', 'wb').write(os.urandom(9000))"

_MORE = f"import os\nfor n in range(2000): open(f'{RESULTS}/{{n}}', 'wb').write(os.urandom(16384))"


def test_a_small_backup_costs_one_login(kept: TestBox, board: Board, home: Path) -> None:
    python(kept, _MANY)
    with Proxy(kept.port) as line:
        enroll(kept, "other", line.port)
        before = line.counts()["accepted"]
        done = backup.backup("other", board=board, to=home)
        assert line.counts()["accepted"] - before == 1
    assert done.files == 300
    assert backups.verify(done.place)[1] == ()


def test_a_large_backup_gets_further_connections(kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 110 * MIB)
    # Six windows of 2 MiB for each 0.4 s: four seconds of work.
    with Proxy(kept.port, delay=0.2) as line:
        enroll(kept, "other", line.port)
        before = line.counts()["accepted"]
        done = backup.backup("other", board=board, to=home)
        assert line.counts()["accepted"] - before == 4
    assert backups.verify(done.place)[1] == ()


@pytest.fixture
def strict(boxes: BoxFactory) -> TestBox:
    """A box whose SSH server leads to no sockets."""
    box = kept_box(boxes, port=0)
    done = box.exec("sed -i '1i AllowStreamLocalForwarding no' /etc/ssh/sshd_config")
    assert done.exit_code == 0, done.stderr
    return box


def test_a_box_that_forwards_nothing_gets_channels_of_the_same_login(strict: TestBox, board: Board, home: Path) -> None:
    # More than comes over one channel before it is seen that there is no other.
    python(strict, _MORE)
    with Proxy(strict.port, delay=0.02) as line:
        enroll(strict, "mybox", line.port)
        before = line.counts()["accepted"]
        done = backup.backup("mybox", board=board, to=home)
        assert line.counts()["accepted"] - before == 1
        assert line.counts()["down"] < 1.1 * done.size
    assert (done.files, done.size) == (2000, 2000 * 16384)
    assert backups.verify(done.place)[1] == ()


def test_a_box_that_grants_one_session_still_needs_one_login(boxes: BoxFactory, board: Board, home: Path) -> None:
    box = kept_box(boxes, port=0)
    python(box, _MORE)
    done = box.exec("sed -i 's/^MaxSessions.*/MaxSessions 1/' /etc/ssh/sshd_config")
    assert done.exit_code == 0, done.stderr
    with Proxy(box.port) as line:
        enroll(box, "mybox", line.port)
        before = line.counts()["accepted"]
        made = backup.backup("mybox", board=board, to=home)
        assert line.counts()["accepted"] - before == 1
    assert backups.verify(made.place)[1] == ()


def test_small_files_that_were_lost_with_the_line_come_again(kept: TestBox, board: Board, home: Path) -> None:
    """They come unasked, over all channels at once: what was on its way is asked for over new connections."""
    python(kept, _MORE)
    with Proxy(kept.port, delay=0.1) as line:
        enroll(kept, "other", line.port)
        cut = Cutting(line, line.counts()["down"] + 8 * MIB, way="down")
        begun = line.counts()["down"]
        done = backup.backup("other", board=Board(cut), to=home)
        assert cut.done
        # The windows of six channels, of 2 MiB each.
        assert line.counts()["down"] - begun < done.size + 13 * MIB
    assert (done.files, done.size) == (2000, 2000 * 16384)
    assert backups.verify(done.place)[1] == ()


def test_an_interrupted_stream_of_small_files_is_gone_on_with(kept: TestBox, board: Board, home: Path) -> None:
    python(kept, _MORE)
    with Proxy(kept.port, delay=0.1) as line:
        enroll(kept, "other", line.port)
        with pytest.raises(KeyboardInterrupt):
            backup.backup("other", board=Board(Interrupting(line, 16 * MIB)), to=home)
        until(lambda: kept.exec("pgrep -f 'boxctl sen[d]'; ls /tmp/gpubox-*").stdout == "")
        done = backup.backup("other", board=board, to=home)
    assert MIB < done.size - done.fetched < 2000 * 16384
    assert backups.verify(done.place)[1] == ()


def test_a_box_that_grants_one_channel_gives_each_its_login(strict: TestBox, board: Board, home: Path) -> None:
    box = strict
    fill(box, f"{RESULTS}/model.bin", 40 * MIB)
    done = box.exec("sed -i 's/^MaxSessions.*/MaxSessions 1/' /etc/ssh/sshd_config")
    assert done.exit_code == 0, done.stderr
    # Four seconds over one window.
    with Proxy(box.port, delay=0.1) as line:
        enroll(box, "mybox", line.port)
        before = line.counts()["accepted"]
        made = backup.backup("mybox", board=board, to=home)
        assert line.counts()["accepted"] - before > 1
    assert backups.verify(made.place)[1] == ()


def test_a_login_that_was_begun_to_where_the_box_was_is_not_used(kept: TestBox, board: Board, home: Path) -> None:
    kept.write(f"{RESULTS}/table.csv", "here")
    with Proxy(kept.port) as old, Ledger() as ledger:
        ssh_config.write(Login.of(ledger.update("mybox", port=old.port)))
        early = Shared.early("mybox")
        assert early is not None
        ledger.update("mybox", port=kept.port)
        with early:
            done = backup.backup("mybox", board=board, to=home, early=early)
    assert done.files == 1
    assert Shared.early("never-reached") is None
    assert Shared.early("../boxes/mybox") is None


def test_the_command_begins_its_only_login_before_it_has_looked_anything_up(
    kept: TestBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(kept, _MANY)
    tool = Gpubox(tmp_path)
    monkeypatch.setenv("GPUBOX_HOME", str(tool.home / ".local/share/gpubox"))
    with Proxy(kept.port) as line:
        enroll(kept, "other", line.port)
        try:
            tool("backup", "other", "--dry-run")
            before = line.counts()["accepted"]
            assert tool.json("backup", "other")["files"] == 300
            assert line.counts()["accepted"] - before == 1
        finally:
            tool.end()


def test_a_killed_command_leaves_nothing_running(
    kept: TestBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that stays would keep the guard from seeing that nobody is there."""
    fill(kept, f"{RESULTS}/model.bin", 100 * MIB)
    tool = Gpubox(tmp_path)
    # Who is killed cannot remove the directory of his socket.
    tool.env["TMPDIR"] = str(tmp_path)
    monkeypatch.setenv("GPUBOX_HOME", str(tool.home / ".local/share/gpubox"))
    with Proxy(kept.port, delay=0.1) as line:
        enroll(kept, "other", line.port)
        try:
            with subprocess.Popen(tool.argv("backup", "other"), env=tool.env, cwd=tmp_path) as running:
                until(lambda: line.counts()["down"] > 8 * MIB)
                os.kill(running.pid, signal.SIGKILL)
            until(lambda: line.counts()["live"] == 0)
            until(lambda: kept.exec("pgrep -f 'boxctl sen[d]'").exit_code != 0)
        finally:
            tool.end()


def test_what_came_is_kept_and_said_and_no_lock_stays(kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 60 * MIB)
    with Proxy(kept.port, delay=0.05) as line:
        enroll(kept, "other", line.port)
        teller = Interrupting(line, 20 * MIB)
        with pytest.raises(KeyboardInterrupt):
            backup.backup("other", board=Board(teller), to=home)
        partial = home / "other" / backups.PARTIAL
        (note,) = teller.notes
        assert f"MiB are kept in `{partial}`: the same command goes on from there" in note
        assert float(note.split()[0]) > 10
        assert [path.name for path in (home / "other").iterdir()] == [backups.PARTIAL]
        done = backup.backup("other", board=board, to=home)
    assert list((home / "other").iterdir()) == [done.place]


def test_nothing_is_left_when_nothing_came(kept: TestBox, home: Path) -> None:
    teller = Telling()
    kept.exec(f"mv {ROOT}/bin/boxctl {ROOT}/bin/boxctl.away")
    try:
        with pytest.raises(RemoteCommandFailed):
            backup.backup("mybox", board=Board(teller), to=home)
    finally:
        kept.exec(f"mv {ROOT}/bin/boxctl.away {ROOT}/bin/boxctl")
    assert teller.notes == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("spoil", "boxctl", "said", "hint"),
    [
        ("bin/boxctl", None, "only half set up: gpubox's own part below `{root}`", "`gpubox up box` finishes"),
        ("controller/bin/python", None, "only half set up", "`gpubox up box` finishes"),
        ("lib/boxctl", None, "No module named boxctl", "`gpubox up box --full`"),
        ("", "echo gpubox-send-1; cat", "another version", "`gpubox up box`"),
        (
            "",
            """echo '{{"error": "invalid choice: \\u0027send\\u0027"}}'; exit 2""",
            "another version",
            "`gpubox up box`",
        ),
    ],
    ids=["no boxctl", "no python", "no package", "an older form", "no such command"],
)
def test_a_box_that_is_not_ready_says_what_mends_it(
    kept: TestBox, board: Board, home: Path, spoil: str, boxctl: str | None, said: str, hint: str
) -> None:
    root = "/root/work/half"
    made = kept.exec(f"mkdir -p /root/work; cp -a {ROOT} {root} && rm -rf {root}/{spoil or 'bin/boxctl'}")
    assert made.exit_code == 0, made.stderr
    if boxctl is not None:
        kept.write(f"{root}/bin/boxctl", f"#!/bin/sh\n{boxctl.format()}\n", mode=0o755)
    with Ledger() as ledger:
        same = ledger.get("mybox").model_dump(include={"host", "port", "user", "host_key", "identity_file"})
        ledger.add("box", "attach", **same, root=root)
    with pytest.raises(RemoteCommandFailed, match=said.format(root=root)) as caught:
        backup.backup("box", board=board, to=home)
    assert hint in str(caught.value.hint)


def test_a_box_that_is_away_is_said(kept: TestBox, board: Board, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubox.backup.control.PAUSES", ())
    with Proxy(kept.port) as line, Ledger() as ledger:
        line.refuse()
        ledger.update("mybox", port=line.port)
        with pytest.raises(Unreachable):
            backup.backup("mybox", board=board, to=home)
    assert not home.exists()
