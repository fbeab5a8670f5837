"""The login of a backup that begins before the command line is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gpubox.cli import early
from unit.cli.test_bad_input import gpubox
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Stands for a login that is under way: it tells its pid, and waits for what it is to run.
SSH = '#!/bin/sh\necho $$ >> "$PIDS"\nexec cat\n'


@pytest.fixture
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where each login leaves its pid; `mybox` was reached before."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    box = tmp_path / "home" / "boxes" / "mybox"
    box.mkdir(parents=True)
    (box / "ssh_config").write_text("Host gpubox-mybox\n")
    monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    yield tmp_path / "pids"
    early._end()


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_login_is_under_way_when_the_command_asks_for_it(logins: Path) -> None:
    early.begin(["mybox", "--to", "x"])
    until(lambda: pids(logins), "the login")
    login = early.take("mybox")
    assert login is not None
    login.close()
    assert len(pids(logins)) == 1


@pytest.mark.parametrize(
    "words",
    [[], ["--to", "mybox"], ["mybox", "--dry-run"], ["--verify", "mybox"], ["mybox", "--help"], ["other"], ["../x"]],
)
def test_nothing_begins_for_what_needs_no_login(words: list[str], logins: Path) -> None:
    early.begin(words)
    assert not early._begun
    assert not pids(logins)


def test_a_login_that_nobody_takes_is_ended(logins: Path) -> None:
    early.begin(["mybox"])
    until(lambda: pids(logins), "the login")
    early._end()
    assert not alive(pids(logins)[0])


def test_a_command_line_that_is_refused_leaves_no_login(logins: Path, tmp_path: Path) -> None:
    done = gpubox(tmp_path, "backup", "mybox", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
    assert not any(alive(pid) for pid in pids(logins))
