"""A model is there whole or not at all, known by its key, and never taken for whole when it is not."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from small_gpt import cli, errors, recipe, store

from unit.small_gpt.conftest import FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeModel = Callable[[Path, str], Path]

REQUIRED = [f"--require={name}==1.2" for name in recipe.LIBRARIES]


def look(*options: object) -> dict[str, Any]:
    """What `--look` prints, run by a Python without site packages: a box's bare one."""
    done = program("--look", *REQUIRED, *options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def program(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-m", "small_gpt", *map(str, options)],
        env={"PYTHONPATH": str(FILES), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_finished_model_is_readable_by_all(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model(tmp_path / "models/m", "k")
    assert store.finished(model, "k")
    assert not store.finished(model, "other")
    assert {stat.S_IMODE(path.stat().st_mode) for path in model.iterdir()} == {0o644}
    assert stat.S_IMODE(model.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_harm_to_any_file_is_seen(tmp_path: Path, make_model: MakeModel, name: str, harm: str) -> None:
    file = make_model(tmp_path / "m", "k") / name
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-2])
    assert not store.finished(tmp_path / "m", "k")


def test_an_error_leaves_the_old_model_and_nothing_else(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model(tmp_path / "m", "old")

    def fail() -> None:
        with store.writing(model) as partial:
            (partial / "model.safetensors").write_bytes(b"half")
            raise errors.NotLearnt("no", hint="more")

    with pytest.raises(errors.NotLearnt):
        fail()
    assert store.finished(model, "old")
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("gpubox")} == {"m", ".m.lock"}


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, make_model: MakeModel) -> None:
    half = tmp_path / ".m.partial"
    half.mkdir()
    (half / "stale").touch()
    assert {path.name for path in make_model(tmp_path / "m", "k").iterdir()} == {
        "config.json",
        "model.safetensors",
        "training.json",
    }
    assert not half.exists()


def test_a_run_killed_between_the_renames_loses_nothing(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model(tmp_path / "m", "k")
    model.rename(tmp_path / ".m.old")
    with pytest.raises(errors.Stopped), store.writing(model):
        raise errors.Stopped("stop", hint="again")
    assert store.finished(model, "k")


def test_two_cannot_write_the_same_model(tmp_path: Path) -> None:
    with store.writing(tmp_path / "m"), pytest.raises(errors.Busy), store.writing(tmp_path / "m"):
        pytest.fail("the second one got in")


def test_a_rotten_copy_is_not_taken(tmp_path: Path, make_model: MakeModel) -> None:
    source = make_model(tmp_path / "cache", "k")
    assert store.copy(source, tmp_path / "good", "k")
    assert store.finished(tmp_path / "good", "k")
    (source / "model.safetensors").write_bytes(b"rot")
    assert not store.copy(source, tmp_path / "bad", "k")
    assert not (tmp_path / "bad").exists()


def test_the_key_depends_on_program_recipe_and_versions(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    versions = {"torch": "1"}
    first = recipe.key(recipe.Recipe(), versions, tmp_path)
    assert first == recipe.key(recipe.Recipe(), dict(versions), tmp_path)
    others = {
        recipe.key(recipe.Recipe(seed=1), versions, tmp_path),
        recipe.key(recipe.Recipe(epochs=3), versions, tmp_path),
        recipe.key(recipe.Recipe(), {"torch": "2"}, tmp_path),
    }
    (tmp_path / "a.py").write_text("2")
    others.add(recipe.key(recipe.Recipe(), versions, tmp_path))
    assert len(others | {first}) == 5


def test_a_bare_python_finds_a_model_and_takes_it_from_the_cache(tmp_path: Path, make_model: MakeModel) -> None:
    out, cache = tmp_path / "m", tmp_path / "cache"
    found = look("--out", out, "--cache", cache)
    assert found["state"] == "train"
    assert look("--out", out, "--threads", 2)["key"] == found["key"], "threads do not change the weights"
    assert look("--out", out, "--seed", 7)["key"] != found["key"]
    make_model(cache / f"small-gpt-{found['key'][:32]}", found["key"])
    assert look("--out", out, "--cache", cache)["state"] == "cached"
    progress = tmp_path / "progress"
    done = program("--out", out, "--cache", cache, *REQUIRED, GPUBOX_PROGRESS=str(progress))
    assert done.returncode == 0, done.stderr
    assert "copied" in done.stdout
    assert look("--out", out)["state"] == "ready"
    assert json.loads(progress.read_text().splitlines()[-1])["label"] == "ready"
    assert "up to date" in program("--out", out, *REQUIRED).stdout


def test_a_ready_model_is_left_in_the_cache(tmp_path: Path, make_model: MakeModel) -> None:
    out, cache = tmp_path / "m", tmp_path / "cache"
    make_model(out, look("--out", out)["key"])
    assert program("--out", out, "--cache", cache, *REQUIRED).returncode == 0
    assert look("--out", tmp_path / "elsewhere", "--cache", cache)["state"] == "cached"


def test_without_the_libraries_it_says_what_is_missing(tmp_path: Path) -> None:
    for options in ([], REQUIRED):
        done = program("--out", tmp_path / "m", *options)
        assert done.returncode == 1
        assert "`torch` is not installed" in done.stderr
        assert "hint: " in done.stderr
        assert "Traceback" not in done.stderr


def test_other_versions_are_refused() -> None:
    recipe.check_versions({"torch": "2.13.0"}, {"torch": "2.13.0", "numpy": "1"})
    with pytest.raises(errors.WrongVersions, match=r"torch 2\.12\.0 instead of 2\.13\.0"):
        recipe.check_versions({"torch": "2.13.0"}, {"torch": "2.12.0"})


@pytest.mark.parametrize(
    "options",
    [["--epochs", "0"], ["--epochs", "x"], ["--require", "torch"], ["--precision", "fp8"], ["--unknown"]],
)
def test_bad_options_are_usage_errors(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--out", "/nowhere", *options])
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
