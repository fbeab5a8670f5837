"""Backups of real boxes: whole or not at all, over cut lines and full disks, with rotten bytes and busy databases."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy
from gpubox import backup, backups
from gpubox.converge.progress import Board
from gpubox.errors import Failed, Refused, TransferFailed, UsageError
from gpubox.ledger import Ledger
from keeping.box import ROOT, enroll, fill, kept_box, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from gpubox.backup import Backup
    from gpubox.converge.progress import Step

MIB = 1 << 20
RESULTS = f"{ROOT}/results"


def saved(done: Backup, path: str) -> Path:
    return done.place / backups.FILES / path


def test_what_exists_only_there_comes_home_and_is_noted(kept: TestBox, board: Board, home: Path) -> None:
    kept.write(f"{RESULTS}/run 1/it's 日志.log", "a log\n", mode=0o640)
    kept.exec(f"cd {RESULTS} && printf x > 'new\nline'; printf y > -rf; : > empty; touch -d @1000000000 -- -rf")
    kept.exec(f"cd {RESULTS} && printf z > $(printf 'no\\377text') && ln -s empty link && ln -- -rf second")
    fill(kept, f"{RESULTS}/model.bin", 3 * MIB + 5)
    done = backup.backup("mybox", board=board, to=home)
    assert done.place.parent == home / "mybox"
    assert saved(done, "results/run 1/it's 日志.log").read_text() == "a log\n"
    assert saved(done, "results/new\nline").read_text() == "x"
    assert (done.place / os.fsdecode(b"files/results/no\377text")).read_text() == "z"
    assert saved(done, "results/link").read_bytes() == saved(done, "results/empty").read_bytes() == b""
    assert saved(done, "results/-rf").samefile(saved(done, "results/second"))
    manifest = backups.checked(done.place)
    files = {file.path: file for file in manifest.files}
    assert files["results/run 1/it's 日志.log"].mode == 0o640
    assert files["results/-rf"].mtime_ns == 10**18
    assert {file.kind for file in manifest.files} == {"declared"}
    with Ledger() as ledger:
        noted = ledger.last_backup("mybox")
    assert noted is not None
    assert (noted.place, noted.files, noted.size, noted.sha256) == (done.place, done.files, done.size, done.sha256)
    # Nothing but coreutils is needed to look.
    subprocess.run(["sha256sum", "--check", "--quiet", backups.SUMS], cwd=done.place, check=True, timeout=60)
    assert not list(done.place.parent.glob(".partial"))


def test_the_plan_tells_kinds_and_sizes_and_changes_nothing(kept: TestBox) -> None:
    kept.write(f"{RESULTS}/table.csv", "12345")
    kept.write("/root/work/notes.txt", "mine")
    kept.write(f"{ROOT}/services/web/service.json", json.dumps({"precious": ["/root/work/db", "results/table.csv"]}))
    before = kept.exec(f"find {ROOT} /root/work | sort").stdout
    intent = backup.plan("mybox")
    listed = {file.absolute: (file.kind, file.reason, file.size) for file in intent.files}
    assert listed[f"{RESULTS}/table.csv"] == ("declared", "results", 5)
    assert listed["/root/work/notes.txt"] == ("found", "newer than the box's set-up", 4)
    assert "/root/work/db" in intent.missing
    assert intent.incomplete == ()
    assert kept.exec(f"find {ROOT} /root/work | sort").stdout == before
    declared = backup.plan("mybox", search=False)
    assert "/root/work/notes.txt" not in [file.absolute for file in declared.files]


def test_twenty_cuts_cost_at_most_five_per_cent(module_boxes: BoxFactory, board: Board, home: Path) -> None:
    box = kept_box(module_boxes, port=0)
    fill(box, f"{RESULTS}/model.bin", 420 * MIB)
    for number in range(4):
        fill(box, f"{RESULTS}/part-{number}.bin", 16 * MIB + number)
    python(box, f"import os\nfor n in range(1000): open(f'{RESULTS}/{{n}}.json', 'wb').write(os.urandom(16000))")
    seed = 20261122
    chance = random.Random(seed)
    places = sorted(chance.uniform(0.01, 0.97) for _ in range(20))
    with Proxy(box.port) as line:
        enroll(box, "mybox", line.port)
        size = backup.plan("mybox").size
        assert size > 490 * MIB
        begun, ended, cuts = line.counts()["down"], threading.Event(), []

        def cut() -> None:
            last = 0
            for number, place in enumerate(places):
                # Not before bytes flow again after the last one.
                while line.counts()["down"] - begun < max(place * size, last + 4 * MIB):
                    if ended.wait(0.003):
                        return
                # A line that is being opened anew has nothing to cut yet.
                while not (hit := line.cut() if number % 2 else box.kill_connections()):
                    if ended.wait(0.003):
                        return
                cuts.append(hit)
                last = line.counts()["down"] - begun

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            done = backup.backup("mybox", board=board, to=home)
        finally:
            ended.set()
            thread.join()
        sent = line.counts()["down"] - begun
    assert len(cuts) == 20, f"seed {seed}"
    assert done.size == size
    assert backups.verify(done.place)[1] == ()
    assert sent <= 1.05 * size, f"seed {seed}: {sent / size:.3f} times the bytes"


def test_a_killed_client_goes_on_where_it_was(kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 60 * MIB)
    kept.write(f"{RESULTS}/small", "small")
    # Slow enough to be interrupted in the middle.
    with Proxy(kept.port, delay=0.05) as line:
        enroll(kept, "other", line.port)
        with pytest.raises(KeyboardInterrupt):
            backup.backup("other", board=Board(_Interrupting(line, 30 * MIB)), to=home)
        assert list((home / "other").iterdir()) != []
        assert backups.newest(home, "other") is None
        with pytest.raises(UsageError, match="not finished"):
            backups.read(home / "other" / ".partial")
        begun = line.counts()["down"]
        done = backup.backup("other", board=board, to=home)
        assert line.counts()["down"] - begun < 45 * MIB
    assert backups.verify(done.place)[1] == ()


def test_a_part_that_rotted_between_two_tries_comes_again(kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 60 * MIB)
    # Slow enough to be interrupted in the middle.
    with Proxy(kept.port, delay=0.05) as line:
        enroll(kept, "other", line.port)
        with pytest.raises(KeyboardInterrupt):
            backup.backup("other", board=Board(_Interrupting(line, 40 * MIB)), to=home)
        (part,) = (path for path in (home / "other/.partial/parts").iterdir() if path.suffix != ".segments")
        _flip(part, 1000)
        done = backup.backup("other", board=board, to=home)
    assert backups.verify(done.place)[1] == ()


def test_the_second_backup_fetches_what_has_changed(kept: TestBox, board: Board, home: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 5 * MIB)
    kept.write(f"{RESULTS}/log", "line\n" * 100)
    kept.exec(f"touch -d '1 hour ago' {RESULTS}/*; sleep 0.2")
    first = backup.backup("mybox", board=board, to=home)
    kept.exec(f"echo more >> {RESULTS}/log; mv {RESULTS}/model.bin {RESULTS}/renamed.bin")
    second = backup.backup("mybox", board=board, to=home)
    assert second.fetched == 505
    assert second.place != first.place
    assert saved(second, "results/renamed.bin").samefile(saved(first, "results/model.bin"))
    assert not saved(second, "results/model.bin").exists()
    assert backups.verify(first.place)[1] == backups.verify(second.place)[1] == ()
    # Both are whole without the other.
    shutil.rmtree(first.place)
    assert backups.verify(second.place)[1] == ()


@pytest.mark.parametrize("what", ["results/model.bin", "results/small", backups.MANIFEST, backups.SUMS])
def test_a_byte_that_rots_at_home_is_noticed(kept: TestBox, board: Board, home: Path, what: str) -> None:
    fill(kept, f"{RESULTS}/model.bin", 2 * MIB)
    kept.write(f"{RESULTS}/small", "small")
    done = backup.backup("mybox", board=board, to=home)
    path = saved(done, what) if what.startswith("results") else done.place / what
    _flip(path, path.stat().st_size // 2)
    # A rotten manifest may be one that cannot be read at all.
    with pytest.raises((Failed, UsageError), match=r"not what it was|cannot be read") as caught:
        backups.checked(done.place)
    assert what in f"{caught.value.message} {caught.value.where}"
    # While the box still has it, the next backup notices, too, and is right.
    again = backup.backup("mybox", board=board, to=home)
    assert backups.verify(again.place)[1] == ()
    if what.startswith("results"):
        assert any(f"{what} had rotted" in note for note in again.notes)


@pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["small", "big"])
def test_a_byte_that_rots_on_the_box_is_noticed(kept: TestBox, board: Board, home: Path, size: int) -> None:
    fill(kept, f"{RESULTS}/model.bin", size)
    kept.exec("sleep 0.2")
    backup.backup("mybox", board=board, to=home)
    shutil.rmtree(home)
    # The disk returns another byte and its inode says nothing of it: as if the remembered hash were of that inode.
    kept.exec(f"printf X | dd of={RESULTS}/model.bin bs=1 seek=500 conv=notrunc; sleep 0.2")
    python(
        kept,
        f"""
import json, os
info = os.stat("{RESULTS}/model.bin")
lines = [json.loads(line) for line in open("{ROOT}/hashes.jsonl")]
sha256 = [line for line in lines if line[0] == "{RESULTS}/model.bin"][-1][2]
version = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
open("{ROOT}/hashes.jsonl", "a").write(json.dumps(["{RESULTS}/model.bin", version, sha256]) + "\\n")
""",
    )
    with pytest.raises(TransferFailed, match=r"results/model.bin: .*the disk there may be failing"):
        backup.backup("mybox", board=board, to=home)
    assert backups.newest(home, "mybox") is None


def test_a_file_that_changes_while_it_is_read_comes_as_it_is_in_the_end(
    kept: TestBox, board: Board, home: Path
) -> None:
    fill(kept, f"{RESULTS}/model.bin", 8 * MIB)
    kept.exec("sleep 0.2")
    # The box remembers the hash; nothing is here.
    shutil.rmtree(backup.backup("mybox", board=board, to=home).place)
    with Ledger() as ledger:

        def change(_plan: object) -> None:
            kept.exec(f"printf NEW | dd of={RESULTS}/model.bin bs=1 seek=100 conv=notrunc")

        done = backup.carry_out(ledger, ledger.get("mybox"), board=board, to=home, on_plan=change)
    assert saved(done, "results/model.bin").read_bytes()[100:103] == b"NEW"
    assert backups.verify(done.place)[1] == ()


def test_a_log_that_grows_and_a_file_that_goes(kept: TestBox, board: Board, home: Path) -> None:
    kept.write(f"{ROOT}/logs/web.log", "line\n" * 200_000)
    kept.write(f"{RESULTS}/passing", "x")
    with Ledger() as ledger:

        def change(_plan: object) -> None:
            kept.exec(f"yes more | head -c 3000000 >> {ROOT}/logs/web.log; rm {RESULTS}/passing")

        done = backup.carry_out(ledger, ledger.get("mybox"), board=board, to=home, on_plan=change)
    assert saved(done, "logs/web.log").read_text() == "line\n" * 200_000
    assert [note for note in done.notes if "results/passing` was gone" in note]
    assert backups.verify(done.place)[1] == ()


def test_two_at_once_do_not_meet(kept: TestBox, board: Board, home: Path) -> None:
    (home / "mybox").mkdir(parents=True)
    with backups.alone(home / "mybox"), pytest.raises(Refused, match="another gpubox"):
        backup.backup("mybox", board=board, to=home)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 150 MiB at home."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_no_room_at_home_is_said_before_anything_moves(kept: TestBox, board: Board, small_disk: Path) -> None:
    fill(kept, f"{RESULTS}/model.bin", 120 * MIB)
    with Proxy(kept.port) as line:
        enroll(kept, "other", line.port)
        with pytest.raises(TransferFailed, match=r"0.1 GiB free, and 0.1 GiB are to come home") as caught:
            backup.backup("other", board=board, to=small_disk)
        assert line.counts()["down"] < MIB
    assert "--to" in str(caught.value.hint)
    assert backups.newest(small_disk, "other") is None


def test_a_disk_that_fills_at_home_leaves_nothing_that_looks_whole(
    kept: TestBox, board: Board, small_disk: Path
) -> None:
    fill(kept, f"{RESULTS}/model.bin", 60 * MIB)
    kept.write(f"{RESULTS}/small", "small")
    filler = small_disk / "filler"
    with Ledger() as ledger:

        def crowd(_plan: object) -> None:
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 120 * MIB)

        record = ledger.get("mybox")
        # Somebody else's file takes the room after it was looked at.
        plenty = shutil.disk_usage("/")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _place: plenty)
            with pytest.raises(TransferFailed, match="No space left on device") as caught:
                backup.carry_out(ledger, record, board=board, to=small_disk, on_plan=crowd)
        assert "make room" in str(caught.value.hint)
        assert backups.newest(small_disk, "mybox") is None
        assert ledger.last_backup("mybox") is None
        filler.unlink()
        done = backup.carry_out(ledger, record, board=board, to=small_disk)
    assert backups.verify(done.place)[1] == ()


_WRITER = """
import os, sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA journal_mode = WAL")
base.execute("PRAGMA wal_autocheckpoint = 0")
base.execute("CREATE TABLE IF NOT EXISTS chat (number INTEGER PRIMARY KEY, text TEXT)")
while True:
    base.execute("INSERT INTO chat (text) VALUES (?)", ("x" * 300,))
    open("/root/writer.part", "w").write(str(base.execute("SELECT count(*) FROM chat").fetchone()[0]))
    os.replace("/root/writer.part", "/root/writer.count")
"""


def test_a_database_that_is_written_comes_home_whole(kept: TestBox, board: Board, home: Path, tmp_path: Path) -> None:
    kept.write("/root/writer.py", _WRITER)
    place = f"{RESULTS}/webui.db"
    kept.exec(f"setsid python3 /root/writer.py {place} >/dev/null 2>&1 & echo $! > /root/writer.pid")
    try:
        kept.exec(
            "cd /root; until [ -s writer.count ] && [ $(cat writer.count) -gt 300 ]; do sleep 0.05; done", timeout=100
        )
        before = int(kept.read("/root/writer.count"))
        done = backup.backup("mybox", board=board, to=home)
        copied = kept.exec(f"cp {place} /root/copy.db; base64 /root/copy.db").stdout
    finally:
        kept.exec("kill $(cat /root/writer.pid); rm -f /root/writer.* /root/copy.db")
    paths = [file.path for file in backups.checked(done.place).files]
    assert "results/webui.db" in paths
    assert not [path for path in paths if path.endswith(("-wal", "-shm"))]
    home_copy = tmp_path / "webui.db"
    shutil.copy(saved(done, "results/webui.db"), home_copy)
    home_copy.chmod(0o600)
    with contextlib.closing(sqlite3.connect(home_copy)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("SELECT count(*) FROM chat").fetchone()[0] >= before
        # It is in the mode that its program had chosen.
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    # What this is for: the file alone, copied, has not even the table.
    import base64

    (tmp_path / "copied.db").write_bytes(base64.b64decode(copied))
    with contextlib.closing(sqlite3.connect(tmp_path / "copied.db")) as base:
        tables = base.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == []


def test_a_database_that_rests_is_not_copied_twice(kept: TestBox, board: Board, home: Path) -> None:
    python(
        kept,
        f"""
import sqlite3
base = sqlite3.connect("{RESULTS}/adapters.db")
base.execute("PRAGMA journal_mode = WAL")
base.execute("CREATE TABLE t AS SELECT hex(randomblob(9000)) AS x")
base.commit()
""",
    )
    kept.exec("sleep 0.2")
    first = backup.backup("mybox", board=board, to=home)
    second = backup.backup("mybox", board=board, to=home)
    assert first.fetched > 0
    assert second.fetched == 0
    assert saved(second, "results/adapters.db").samefile(saved(first, "results/adapters.db"))
    assert kept.exec(f"ls -A {ROOT}/snapshots").stdout == ""


def test_a_found_work_tree_brings_its_changes_and_commits(kept: TestBox, board: Board, home: Path) -> None:
    done_there = kept.exec(
        """set -e; mkdir -p /root/work; cd /root/work; export GIT_CONFIG_GLOBAL=/dev/null
        git init -q --bare origin.git; git clone -q origin.git tree 2>/dev/null; cd tree
        git config user.name me; git config user.email me@example.com
        echo pushed > pushed; echo changed > changed; echo out > .gitignore; git add .; git commit -qm one
        git push -q origin HEAD; echo local > local; git add local; git commit -qm two
        echo more >> changed; echo new > untracked; mkdir out; echo weights > out/adapter.bin
        touch -d '2 years ago' changed untracked"""
    )
    assert done_there.exit_code == 0, done_there.stderr
    kept.exec("sed -i 's/^out$/out/' /root/work/tree/.gitignore")
    done = backup.backup("mybox", board=board, to=home)
    files = {file.absolute.removeprefix("/root/work/tree/"): file for file in backups.checked(done.place).files}
    assert files["changed"].reason == "git: uncommitted"
    assert files["untracked"].reason == "git: untracked"
    assert files["out/adapter.bin"].reason == "newer than the box's set-up"
    assert files["unpushed.git-bundle"].reason == "git: 1 commit that no remote has"
    assert not {"pushed", "local", ".gitignore"} & files.keys()
    bundle = saved(done, files["unpushed.git-bundle"].path)
    heads = subprocess.run(
        ["git", "bundle", "list-heads", str(bundle)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "refs/heads/" in heads


class _Interrupting:
    """Shows a board to a user who presses Ctrl-C when so many bytes have come."""

    def __init__(self, line: Proxy, size: int, *, way: str = "down") -> None:
        self._line = line
        self._size = size
        self._way = way

    def changed(self, board: Board, step: Step) -> None:
        if self._line.counts()[self._way] > self._size:
            raise KeyboardInterrupt

    def begin(self, board: Board) -> None: ...
    def note(self, board: Board, text: str) -> None: ...
    def end(self, board: Board) -> None: ...


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)
