"""Pulling models with a real program behind it: what goes wrong on the way, and what is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ollama_fetch.errors import FetchError, TryAgainError
from ollama_fetch.patience import Patience
from ollama_fetch.progress import Progress
from ollama_fetch.pull import Limits, Watch, _CheckpointError, pull
from ollama_fetch.server import serving
from unit.ollama.conftest import FILES, Sim
from waits import until

if TYPE_CHECKING:
    from pathlib import Path

FAST = Limits(stall=0.5, budget=20.0, checkpoint=600.0)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv("GPUBOX_PROGRESS", str(path))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_models_are_there_and_progress_counts_bytes(sim: Sim, said: Path) -> None:
    with serving(sim.program, sim.env) as api:
        pull(api, "tiny:1", FAST, Progress())
        pull(api, "other", FAST, Progress())
        assert api.get("/v1/models")["data"] == [
            {"id": name, "object": "model", "owned_by": "library"} for name in ("other:latest", "tiny:1")
        ]
    figures = [line for line in lines(said) if line.get("label") == "pulling tiny:1"]
    assert figures[-1] == {"label": "pulling tiny:1", "done": 401_000, "total": 401_000, "unit": "B"}
    assert (sim.place / ".ollama/id_ed25519").exists()


def test_a_stall_is_ended_and_nothing_is_fetched_twice(sim: Sim, said: Path) -> None:
    sim.set(faults=[[200_000, "stall"], [300_000, "cut"]])
    with serving(sim.program, sim.env) as api:
        pull(api, "tiny:1", FAST, Progress())
    labels = [line["label"] for line in lines(said)]
    assert "pulling tiny:1: no byte for 0 s; trying again" in labels
    assert any("unexpected EOF; trying again" in label for label in labels)
    assert sim.count("sent") <= 392 + 8


@pytest.mark.parametrize(
    ("model", "faults", "words"),
    [
        ("deepsek:8b", [], "`deepsek:8b`: .*there is no such model; https://ollama.com/library"),
        ("tiny:1", [[100_000, "full"]], "no space left on device .free some space"),
    ],
)
def test_what_does_not_mend_itself_is_said_at_once(sim: Sim, model: str, faults: list[Any], words: str) -> None:
    sim.set(faults=faults)
    with serving(sim.program, sim.env) as api, pytest.raises(FetchError, match=words):
        pull(api, model, FAST, Progress())


def test_a_server_that_does_not_start_is_said(sim: Sim) -> None:
    with (
        pytest.raises(FetchError, match="ended with exit code 1"),
        serving(sim.program, {**sim.env, "OLLAMA_HOTS": "1"}),
    ):
        pass


def test_a_box_that_loses_its_power_goes_on_from_the_last_checkpoint(sim: Sim, said: Path) -> None:
    """Without one, parts that were not complete would begin anew: both were, at more than half of the model."""
    sim.set(models={"tiny:1": [2_000_000]}, part=1_000_000, rate=400_000.0)
    done = fetching(sim, said, checkpoint=1.0)
    until(lambda: sum(sim.notes()) > 600_000, "a third of the model, noted at a checkpoint")
    os.killpg(done.pid, signal.SIGKILL)
    done.wait()
    until(lambda: not alive(sim), "the server is gone, too")
    assert sum(sim.notes()) > 600_000
    sim.set(rate=1e9)
    again = fetching(sim, said, checkpoint=600.0)
    assert again.wait(60) == 0
    assert sim.count("sent") * 1024 < 2_000_000 + 700_000


def test_without_noprune_a_start_throws_away_what_was_fetched(sim: Sim, said: Path) -> None:
    """Why the role sets OLLAMA_NOPRUNE: the simulated server does here what the real one does."""
    sim.set(faults=[[200_000, "full"]])
    with serving(sim.program, sim.env) as api, pytest.raises(FetchError):
        pull(api, "tiny:1", FAST, Progress())
    assert list((sim.place / "models/blobs").glob("*-partial*"))
    env = {name: value for name, value in sim.env.items() if name != "OLLAMA_NOPRUNE"}
    with serving(sim.program, env):
        assert not list((sim.place / "models/blobs").glob("*-partial*"))


def fetching(sim: Sim, said: Path, *, checkpoint: float) -> subprocess.Popen[bytes]:
    wanted = {
        "version": "1", "url": "http://127.0.0.1:9", "sha256s": {}, "place": str(sim.place), "models": ["tiny:1"],
        "env": sim.env, "pull_stall": 30, "pull_budget": 60, "pull_checkpoint": checkpoint,
    }  # fmt: skip
    release = sim.place / "1"
    if not release.exists():
        release.symlink_to(sim.place)
    env = {**os.environ, "GPUBOX_OLLAMA": json.dumps(wanted), "PYTHONPATH": str(FILES), "GPUBOX_PROGRESS": str(said)}
    return subprocess.Popen([sys.executable, "-m", "ollama_fetch", "fetch"], env=env, start_new_session=True)


def alive(sim: Sim) -> bool:
    found = subprocess.run(["pgrep", "-f", f"{sim.program} serve"], capture_output=True, check=False)
    return found.returncode == 0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_resets_the_budget_and_a_stall_takes_its_time() -> None:
    clock = Clock()
    patience = Patience(100.0, clock=clock)
    watch = Watch(Limits(stall=30.0, budget=100.0, checkpoint=1000.0), patience, clock=clock)

    def see(done: int) -> None:
        watch.see({"digest": "sha256:a", "completed": done, "total": 100})

    for done in range(5):
        clock.now += 29.0
        see(done)
    clock.now += 31.0
    with pytest.raises(TryAgainError, match="no byte for 30 s"):
        see(4)
    watch.begin()
    see(4)  # A new connection has its own time.
    with pytest.raises(FetchError, match="nothing came for 31 s"):
        Patience.again(_spent(patience, clock), TryAgainError("x"), sleep=lambda _: None)


def _spent(patience: Patience, clock: Clock) -> Patience:
    patience._budget = 31.0
    return patience


def test_a_checkpoint_comes_only_while_bytes_come() -> None:
    clock = Clock()
    watch = Watch(Limits(stall=30.0, budget=100.0, checkpoint=60.0), Patience(100.0, clock=clock), clock=clock)
    clock.now = 59.0
    watch.see({"digest": "sha256:a", "completed": 1, "total": 100})
    clock.now = 61.0
    with pytest.raises(_CheckpointError):
        watch.see({"digest": "sha256:a", "completed": 2, "total": 100})
    watch.see({"digest": "sha256:a", "completed": 100, "total": 100})
