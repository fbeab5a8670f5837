"""Backups of real boxes are whole or not at all: over cut lines and full disks, with rotten bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy
from gpubox import backup, backups
from gpubox.converge.progress import Board
from gpubox.errors import Failed, TransferFailed, UsageError
from gpubox.ledger import Ledger
from keeping.box import ROOT, enroll, fill, kept_box, python
from keeping.trouble import MIB, RESULTS, Interrupting, flip, saved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox


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
            backup.backup("other", board=Board(Interrupting(line, 30 * MIB)), to=home)
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
            backup.backup("other", board=Board(Interrupting(line, 40 * MIB)), to=home)
        (part,) = (path for path in (home / "other/.partial/parts").iterdir() if path.suffix != ".segments")
        flip(part, 1000)
        done = backup.backup("other", board=board, to=home)
    assert backups.verify(done.place)[1] == ()


@pytest.mark.parametrize("what", ["results/model.bin", "results/small", backups.MANIFEST, backups.SUMS])
def test_a_byte_that_rots_at_home_is_noticed(kept: TestBox, board: Board, home: Path, what: str) -> None:
    fill(kept, f"{RESULTS}/model.bin", 2 * MIB)
    kept.write(f"{RESULTS}/small", "small")
    done = backup.backup("mybox", board=board, to=home)
    path = saved(done, what) if what.startswith("results") else done.place / what
    flip(path, path.stat().st_size // 2)
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
