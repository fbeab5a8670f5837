"""Bad input through the door that a person takes: a sentence, the place, the fix, the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def gpubox(directory: Path, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in `directory`."""
    return subprocess.run(
        [sys.executable, "-m", "gpubox", *args],
        cwd=directory,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


CASES = {
    "unknown command": (("upp", "x"), 2, ["no such command `upp`", "Did you mean `up`?"]),
    "unknown option": (("ls", "--al"), 2, ["No such option", "--all"]),
    "unknown template": (("init", "x", "--template", "4090-vlm"), 2, ["4090-vlm", "4090-vllm"]),
    "bad box name": (("init", "../x"), 2, ["../x"]),
    "no box file": (("up", "nosuch"), 2, ["boxes/nosuch.yml", "gpubox init nosuch"]),
    "no name of a box": (("up", "../x"), 2, ["`../x` cannot be the name of a box", "fix: "]),
    "unknown box": (("status", "nosuch"), 2, ["nosuch", "gpubox"]),
    "unknown box for down": (("down", "nosuch", "--yes"), 2, ["nosuch"]),
    "unknown box for chat": (("chat", "nosuch", "hi"), 2, ["nosuch"]),
    "unknown box for tunnel": (("tunnel", "nosuch"), 2, ["nosuch", "gpubox add"]),
    "unknown box for tunnel --list": (("tunnel", "../nosuch", "--list"), 2, ["nosuch"]),
    "unknown box for tunnel --stop": (("tunnel", "nosuch", "--stop"), 2, ["nosuch"]),
    "bad login line": (("add", "x", "ssh root@host rm -rf /", "--yes"), 2, ["ssh", "fix: "]),
    "no login line": (("add", "x"), 2, ["gpubox add x"]),
    "bad levels": (("bench", "x", "--concurrency", "1,b"), 2, ["1,b"]),
    "unknown help topic": (("help", "nosuch"), 2, ["exit-codes"]),
}


@pytest.mark.parametrize(("args", "code", "words"), CASES.values(), ids=CASES.keys())
def test_bad_input(tmp_path: Path, args: tuple[str, ...], code: int, words: list[str]) -> None:
    done = gpubox(tmp_path, *args)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_a_malformed_box_file_names_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    text = "provider: attac\nengine: vllm\nmodel: small-gpt\nvllm:\n  max_model_length: 10\n  port: 99999\n"
    (tmp_path / "boxes/x.yml").write_text(text)
    done = gpubox(tmp_path, "up", "x")
    assert done.returncode == 2
    for words in ("x.yml:1", "`attach`", "x.yml:5", "`max_model_len`", "x.yml:6", "99999"):
        assert words.strip("`") in done.stderr


def test_what_is_not_there_yet_is_refused_by_name(tmp_path: Path) -> None:
    assert gpubox(tmp_path, "init", "x", "--template", "local-demo").returncode == 0
    box_file = tmp_path / "boxes/x.yml"
    box_file.write_text(f"{box_file.read_text()}\nfinetune: {{recipe: recipes/r.yml}}\n")
    done = gpubox(tmp_path, "up", "x")
    assert done.returncode == 2
    assert "finetune" in done.stderr
    assert "recipes/r.yml" in done.stderr


NEED_A_HOME = {
    "ls": ("ls",),
    "add": ("add", "x", "ssh -p 1 root@127.0.0.1", "--yes"),
    "up": ("up", "x"),
    "down": ("down", "x", "--yes"),
    "tunnel": ("tunnel", "--list"),
    "doctor": ("doctor",),
}


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A directory in which nothing can be made, not even by root."""
    if os.geteuid() == 0:
        return Path("/proc")
    path = tmp_path / "locked"
    path.mkdir(mode=0o500)
    return path


@pytest.mark.parametrize("args", NEED_A_HOME.values(), ids=NEED_A_HOME.keys())
@pytest.mark.parametrize("variable", ["HOME", "GPUBOX_HOME"])
def test_home_that_cannot_be_written(tmp_path: Path, locked: Path, variable: str, args: tuple[str, ...]) -> None:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes/x.yml").write_text("provider: local\n")
    env = {"GPUBOX_HOME": "", "XDG_DATA_HOME": "", variable: str(locked / "x")}
    done = gpubox(tmp_path, *args, env=env)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stdout + done.stderr
    assert str(locked / "x") in said
    assert "set `GPUBOX_HOME` to a directory that you can write to" in said


def test_cache_that_cannot_be_written(tmp_path: Path, locked: Path) -> None:
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes/x.yml").write_text("provider: local\n")
    done = gpubox(tmp_path, "up", "x", env={"GPUBOX_CACHE": str(locked / "x")})
    assert done.returncode == 1
    assert "set `GPUBOX_CACHE`" in done.stderr
    assert gpubox(tmp_path, "ls", "--json").stdout == "[]\n"


def test_a_starter_file_that_cannot_be_written(locked: Path) -> None:
    done = gpubox(locked, "init", "x")
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = gpubox(tmp_path, "ls", env={"GPUBOX_HOME": str(tmp_path / "file" / "x")})
    assert done.returncode == 1
    assert "GPUBOX_HOME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_stdout_that_is_full(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpubox", "ls", "--json"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "error: this machine says: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


INTERRUPTED_IMPORT = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.argv = ["gpubox", "ls"]
from gpubox.cli import main
main()
"""


@pytest.mark.parametrize("module", ["click", "gpubox.cli.group", "gpubox.cli.look", "gpubox.ledger", "sqlite3"])
def test_ctrl_c_before_a_command_has_begun(tmp_path: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT.format(module=module)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr


INTERRUPTED_DESTRUCTOR = """
import sys, time
class Held:
    def __del__(self):
        raise KeyboardInterrupt
def command(*args, **kwargs):
    Held()
    time.sleep(60)
from gpubox.cli import group, main
group.gpubox = command
main()
"""


def test_ctrl_c_inside_a_destructor_is_not_lost(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", INTERRUPTED_DESTRUCTOR]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr


def test_exit_codes_are_told(tmp_path: Path) -> None:
    done = gpubox(tmp_path, "help", "exit-codes")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["0", "1", "2", "3", "4", "5", "130"]


def test_nothing_yet(tmp_path: Path) -> None:
    done = gpubox(tmp_path, "ls", "--json")
    assert (done.returncode, done.stdout) == (0, "[]\n")
