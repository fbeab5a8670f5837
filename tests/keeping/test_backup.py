"""Backups of real boxes: what comes home, as it is in the end, and nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpubox import backup, backups
from gpubox.errors import Refused
from gpubox.ledger import Ledger
from keeping.box import ROOT, fill
from keeping.trouble import MIB, RESULTS, saved

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import TestBox
    from gpubox.converge.progress import Board


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
