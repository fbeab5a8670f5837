"""The bundle is named by its contents and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from gpubox import paths
from gpubox.converge import bundle
from gpubox.errors import Failed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the content that a test may change."""
    copy = tmp_path / "content"
    for name in ("playbooks", "roles", "templates", "inventories"):
        shutil.copytree(paths.content() / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.content() / "ansible.cfg", copy / "ansible.cfg")
    monkeypatch.setattr(paths, "content", lambda: copy)
    monkeypatch.setenv("GPUBOX_CACHE", str(tmp_path / "cache"))
    return copy


def test_same_contents_same_name_whatever_the_times(tree: Path) -> None:
    first = bundle.build()
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
    assert bundle.build() == first


def test_one_changed_byte_or_mode_changes_the_name(tree: Path) -> None:
    first = bundle.build().sha256
    script = next(tree.rglob("bootstrap.sh"))
    script.write_text(script.read_text() + "\n")
    second = bundle.build().sha256
    script.chmod(script.stat().st_mode ^ 0o111)
    assert len({first, second, bundle.build().sha256}) == 3


def test_it_holds_what_a_converge_needs_and_no_bytecode(tree: Path) -> None:
    (tree / "roles" / "__pycache__").mkdir()
    (tree / "roles" / "__pycache__" / "x.pyc").write_bytes(b"x")
    with tarfile.open(bundle.build().path) as tar:
        names = tar.getnames()
        assert all(member.mtime == 0 and member.uid == 0 for member in tar)
    assert {"ansible.cfg", "playbooks/up.yml", "py_tools/gpubox/preflight.py"} <= set(names) or (
        {"ansible.cfg", "playbooks/up.yml", "py_tools/gpubox/preflight/__init__.py"} <= set(names)
    )
    assert "roles/supervisor/files/bootstrap.sh" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_cache_keeps_the_newest_few(tree: Path) -> None:
    for number in range(5):
        (tree / "playbooks" / "extra.yml").write_text(f"# {number}\n")
        last = bundle.build()
    kept = list((paths.cache_dir() / "bundles").glob("*.tar.gz"))
    assert len(kept) == 3
    assert last.path in kept


def test_missing_playbooks_are_said(tree: Path) -> None:
    shutil.rmtree(tree / "playbooks")
    with pytest.raises(Failed, match="no playbooks"):
        bundle.build()


def unpack(target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", bundle.unpack_script(str(target))], stderr=subprocess.PIPE)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """`<bundles>/abc.tar.gz`, as it arrives on a box."""
    place = tmp_path / "it's here" / "bundles"
    place.mkdir(parents=True)
    (tmp_path / "playbook").write_text("- hosts: all\n" * 5000)
    with tarfile.open(place / "abc.tar.gz", "w:gz") as tar:
        for number in range(200):
            tar.add(tmp_path / "playbook", f"playbooks/{number}.yml")
    return place


def test_unpacking_twice_is_unpacking_once(packed: Path) -> None:
    # The answer to the first time was lost on the way.
    assert [unpack(packed / "abc").wait(), unpack(packed / "abc").wait()] == [0, 0]
    assert [path.name for path in packed.iterdir()] == ["abc"]
    assert len(list((packed / "abc/playbooks").iterdir())) == 200


def test_two_clients_may_unpack_the_same_bundle_at_once(packed: Path) -> None:
    children = [unpack(packed / "abc") for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    assert [path.name for path in packed.iterdir()] == ["abc"]
    assert sorted(path.name for path in (packed / "abc").iterdir()) == [".complete", "playbooks"]


def test_half_a_bundle_is_replaced(packed: Path) -> None:
    (packed / "abc").mkdir()
    (packed / "abc/half").touch()
    assert unpack(packed / "abc").wait() == 0
    assert sorted(path.name for path in (packed / "abc").iterdir()) == [".complete", "playbooks"]


def test_a_broken_bundle_is_no_bundle(packed: Path) -> None:
    data = (packed / "abc.tar.gz").read_bytes()
    (packed / "abc.tar.gz").write_bytes(data[: len(data) // 2])
    child = unpack(packed / "abc")
    said = child.communicate()[1]
    assert child.returncode == 1
    assert said
    assert [path.name for path in packed.iterdir()] == ["abc.tar.gz"]


def test_old_bundles_of_a_box_go(packed: Path) -> None:
    for number in range(5):
        (packed / f"old{number}").mkdir()
        os.utime(packed / f"old{number}", (number, number))
    for name, age in {"dead.part.7": 7200, "dead.tar.gz.part.7": 7200, "new.part.8": 0}.items():
        (packed / name).mkdir()
        os.utime(packed / name, (time.time() - age, time.time() - age))
    assert unpack(packed / "abc").wait() == 0
    assert sorted(path.name for path in packed.iterdir()) == ["abc", "new.part.8", "old3", "old4"]
