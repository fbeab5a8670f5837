"""What backup and restore decide, without a box: where files go, what is refused, what a part of a file is worth."""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gpubox import backups, restore
from gpubox.backup.gather import Gather
from gpubox.backup.listing import Listed, from_answer
from gpubox.backup.reuse import link_or_copy, remove_strays
from gpubox.backups import Manifest, Saved
from gpubox.errors import Failed, Refused, TransferFailed, UsageError
from gpubox.remote.transfer_part import SEGMENT, Part
from gpubox.restore import Placed, RestorePlan, refuse, target_of

if TYPE_CHECKING:
    from pathlib import Path

_WAS = {"root": "/root/autodl-tmp/gpubox", "data_dir": "/root/autodl-tmp", "home": "/root"}
_NOW = {"root": "/data/gpubox", "data_dir": "/data", "home": "/home/me"}


@pytest.mark.parametrize(
    ("absolute", "target"),
    [
        ("/root/autodl-tmp/gpubox/results/a", "/data/gpubox/results/a"),
        ("/root/autodl-tmp/out/a", "/data/out/a"),
        ("/root/work/a", "/home/me/work/a"),
        ("/root/autodl-tmp2/a", "/home/me/autodl-tmp2/a"),
        ("/srv/a", "/srv/a"),
    ],
)
def test_files_go_below_the_other_boxs_own_places(absolute: str, target: str) -> None:
    assert target_of(absolute, _WAS, _NOW) == target
    assert target_of(absolute, _WAS, _WAS) == absolute


def test_what_would_cost_data_is_refused(tmp_path: Path) -> None:
    at = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    files = tuple(Placed(_saved(f"f{number}"), f"/f{number}", "newer", at) for number in range(12))
    intent = RestorePlan("b", tmp_path, files, 0, (), ())
    with pytest.raises(Refused, match=r"12 files .*\n  /f0: of 2026-11-22 09:30:00 UTC\n(.*\n)+  and 2 more"):
        refuse(intent, force=False)
    refuse(intent, force=True)
    for state in ("missing", "same", "older"):
        refuse(RestorePlan("b", tmp_path, (Placed(_saved("f"), "/f", state, at),), 0, (), ()), force=False)
    with pytest.raises(Refused, match="there is something that is no file"):
        refuse(RestorePlan("b", tmp_path, (Placed(_saved("f"), "/f", "other", at),), 0, (), ()), force=False)
    with pytest.raises(Refused, match="open in process 7"):
        refuse(RestorePlan("b", tmp_path, (), 0, (), ("process 7 (x)",)), force=True)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", ".", "a\0b"])
def test_a_name_that_leads_outside_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="outside of its directory"):
        backups.refuse_escape("b", path)
    listed = {"files": [_row(path)], "missing": [], "incomplete": [], "root": "/r", "data_dir": "/", "home": "/"}
    with pytest.raises(Failed, match="outside of its directory"):
        from_answer("b", listed)
    _backup(tmp_path / "b", [path])
    with pytest.raises(Failed, match="outside of its directory"):
        backups.read(tmp_path / "b")


@pytest.mark.parametrize("name", [backups.MANIFEST, backups.SUMS, "files/a/one", "files/a/two\nlines"])
def test_no_byte_can_rot_unnoticed(tmp_path: Path, name: str) -> None:
    place = tmp_path / "b"
    _backup(place, ["a/one", "a/two\nlines"])
    assert backups.verify(place)[1] == ()
    path = place / name
    whole = path.read_bytes()
    path.chmod(0o600)
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises((Failed, UsageError)):
            backups.checked(place)
    path.write_bytes(whole[:-1])
    with pytest.raises((Failed, UsageError)):
        backups.checked(place)
    path.unlink()
    with pytest.raises((Failed, UsageError)):
        backups.checked(place)


def test_the_newest_whole_backup_counts(tmp_path: Path) -> None:
    assert backups.newest(tmp_path, "b") is None
    for name in ("20260101T000000Z", "20260102T000000Z"):
        _backup(tmp_path / "b" / name, ["x"])
    (tmp_path / "b" / "20260103T000000Z").mkdir()
    assert backups.newest(tmp_path, "b") == tmp_path / "b" / "20260102T000000Z"
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert backups.fresh_name(tmp_path / "b", at).name == "20260102T000000Z-2"


def test_a_part_takes_segments_in_any_order_and_is_hashed(tmp_path: Path) -> None:
    content = os.urandom(2 * SEGMENT + 1000)
    part = Part(tmp_path / "part", len(content))
    missing = part.missing()
    assert [(each.offset, each.length) for each in missing] == [
        (0, SEGMENT), (SEGMENT, SEGMENT), (2 * SEGMENT, 1000),
    ]  # fmt: skip
    for segment in (missing[2], missing[0]):
        part.write(segment, memoryview(content)[segment.offset : segment.offset + segment.length])
        assert part.advance() == []
    assert part.sha256() is None
    half = memoryview(content)[SEGMENT : SEGMENT + 500]
    part.write(missing[1], half)
    # A cut link: the rest of it comes over the next one.
    assert (missing[1].offset, missing[1].length) == (SEGMENT + 500, SEGMENT - 500)
    part.close()
    again = Part(tmp_path / "part", len(content))
    assert again.had == SEGMENT + 1000
    (left,) = again.missing()
    again.write(left, memoryview(content)[left.offset : left.offset + left.length])
    assert again.advance() == []
    assert again.sha256() == hashlib.sha256(content).hexdigest()
    again.keep(tmp_path / "sub" / "whole", 10**18)
    assert (tmp_path / "sub" / "whole").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["sub"]


def test_asking_for_the_hash_does_not_wait_for_who_hashes(tmp_path: Path) -> None:
    # Nor may it hold that lock: `advance` leaves when it is taken, and nobody would hash the last segment.
    part = Part(tmp_path / "part", SEGMENT)
    with part._hashing:
        asking = threading.Thread(target=part.sha256, daemon=True)
        asking.start()
        asking.join(10)
        assert not asking.is_alive()
    part.close()


def test_a_file_without_a_fate_is_no_file_that_came(tmp_path: Path) -> None:
    places = {"root": "/r", "data_dir": "/", "home": "/"}
    intent = from_answer("b", {"files": [_row("results/a")], "missing": [], "incomplete": [], **places})
    # It asks neither the box nor the disk.
    gather = Gather(intent, *(None,) * 3, tmp_path, tmp_path, "token")  # type: ignore[arg-type]
    item = gather._item(intent.files[0])
    with pytest.raises(TransferFailed, match="results/a: it did not come"):
        gather.further_rounds(lambda: None)  # type: ignore[arg-type,return-value]
    item.settle("home")
    gather.further_rounds(lambda: None)  # type: ignore[arg-type,return-value]
    assert [file.path for file in gather.saved()] == ["results/a"]


def test_a_part_that_rotted_gives_that_segment_back(tmp_path: Path) -> None:
    content = os.urandom(3 * SEGMENT)
    part = Part(tmp_path / "part", len(content))
    for segment in part.missing():
        part.write(segment, memoryview(content)[segment.offset : segment.offset + segment.length])
    part.close()
    rotten = bytearray(content)
    rotten[SEGMENT + 7] ^= 1
    (tmp_path / "part").write_bytes(rotten)
    again = Part(tmp_path / "part", len(content))
    assert again.missing() == []
    (segment,) = again.advance()
    assert (segment.offset, segment.length) == (SEGMENT, SEGMENT)
    again.write(segment, memoryview(content)[SEGMENT : 2 * SEGMENT])
    assert again.advance() == []
    assert again.sha256() == hashlib.sha256(content).hexdigest()
    again.close()


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    (tmp_path / "old").write_bytes(b"content")
    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(tmp_path / "old", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    assert not (tmp_path / "new" / "file").samefile(tmp_path / "old")


def test_strays_of_an_earlier_try_go(tmp_path: Path) -> None:
    for path in ("a/keep", "a/gone", "b/c/gone"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    remove_strays(tmp_path, ["a/keep"])
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/keep"]


def test_the_last_place_is_the_one_noted_and_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubox.ledger import Ledger

    monkeypatch.chdir(tmp_path)
    with Ledger() as ledger:
        ledger.add("b", "attach")
        with pytest.raises(UsageError, match="no backup of `b` is known"):
            restore.last_place(ledger, "b")
        _backup(tmp_path / "gpubox-backups" / "b" / "20260101T000000Z", ["x"])
        assert restore.last_place(ledger, "b").name == "20260101T000000Z"
        _backup(tmp_path / "elsewhere", ["x"])
        ledger.note_backup("b", tmp_path / "elsewhere", files=1, size=1, sha256="0")
        assert restore.last_place(ledger, "b") == tmp_path / "elsewhere"


def _saved(path: str, content: bytes = b"") -> Saved:
    sha256 = hashlib.sha256(content).hexdigest()
    return Saved(path, f"/r/{path}", len(content), sha256, 1, 0o644, 0, 0, "declared", "results", None)


def _row(path: str) -> list[Any]:
    """As `boxctl` lists it."""
    named = {**_saved(path)._asdict(), "version": [1], "node": "1:1"}
    return [named[field] for field in Listed._fields]


def _backup(place: Path, paths: list[str]) -> None:
    place.mkdir(parents=True)
    files = []
    for path in paths:
        content = f"content of {path}".encode()
        files.append(_saved(path, content))
        if path.startswith("a/") and ".." not in path:
            target = place / backups.FILES / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    backups.write(place, Manifest("b", "2026-01-01T00:00:00+00:00", "/r", "/", "/root", tuple(files), (), ()))


def test_an_older_backup_goes_when_the_newer_has_all_of_it(tmp_path: Path) -> None:
    first, second, third = (
        tmp_path / "b" / name for name in ("20260101T000000Z", "20260102T000000Z", "20260103T000000Z")
    )
    _backup(first, ["a/x", "a/gone"])
    _backup(second, ["a/x", "a/new"])
    _backup(third, ["a/x", "a/new", "a/newer"])
    assert backups.succeed(first, second) == ("a/gone",)
    assert backups.verify(first)[1] == ()
    assert backups.succeed(second, second) == ()
    assert backups.succeed(second, third) == ()
    assert not second.exists()
    assert backups.verify(third)[1] == ()


def test_a_lock_is_one_mans_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with backups.alone(tmp_path):
            with pytest.raises(Refused, match="another gpubox"), backups.alone(tmp_path):
                pass
            # Who came in vain has not taken it away.
            with pytest.raises(Refused, match="another gpubox"), backups.alone(tmp_path):
                pass
        assert list(tmp_path.iterdir()) == []
    # A process that was killed leaves the file, and no lock.
    (tmp_path / ".lock").touch()
    with backups.alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
