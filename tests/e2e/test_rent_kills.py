"""SIGKILL at every call of the provider's API and at every write to the ledger, of `up` and of `down`.

Afterwards `ls` and `sweep` account for every box that bills, another `up` never makes a second one, and `down` ends
with none. The boxes are on paper; `test_rent_story.py` has real ones.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from e2e import killing
from e2e.killing import NAME
from gpubox.ledger import Ledger
from sim.autodl import autodl
from sim.clock import SimClock
from sim.compshare import compshare
from sim.machines import PaperMachines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sim.autodl import Running as Autodl
    from sim.compshare import Running as Compshare

    Sim = Autodl | Compshare

WORKERS = 3
# The stories are longer than this anywhere; more points than these are found by running them.
LEAST = {"up": 12, "down": 25}
BOX_FILES = {
    "autodl": "provider: autodl\ngpu: {name: RTX 4090 D}\nmax_price: 3\n",
    "compshare": "provider: compshare\ngpu: {name: RTX 4090}\nmax_price: 3\n",
}
CREATE = {"autodl": "create", "compshare": "CreateCompShareInstance"}
TESTS = Path(__file__).resolve().parent.parent


class Forks:
    """One process that runs stories in forks of itself, one after the other."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2e.killing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(self, job: dict[str, Any]) -> int:
        """The exit code of one story; -9 when it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline())["code"])

    def close(self) -> None:
        """Ends it."""
        self._process.communicate(timeout=60)


class Provider(Protocol):
    """A simulated one. `account` has `boxes`, `live()` and `billing()`."""

    @property
    def environment(self) -> dict[str, str]:
        """What leads to it."""

    @property
    def account(self) -> Any:  # noqa: ANN401 - each has its own
        """Where boxes are rented."""


@dataclass
class Try:
    """One account, one directory, and stories on them."""

    forks: Forks
    sim: Sim | Provider
    directory: Path
    grace: float = 0.2

    def __call__(self, verb: str, kill_at: int | None = None, *, delay: float = 0.0) -> int:
        """Run a story, and kill it at that point, or `delay` seconds after it."""
        env = {
            **self.sim.environment,
            "GPUBOX_HOME": str(self.directory / "home"),
            "GPUBOX_CACHE": str(self.directory / "cache"),
        }
        kill = {"kill_at": kill_at, "delay": delay, "grace": self.grace}
        return self.forks.run({"verb": verb, **kill, "directory": str(self.directory), "env": env})

    def well(self, verb: str) -> None:
        """Run a story that has to end well."""
        (self.directory / "error").unlink(missing_ok=True)
        code = self(verb)
        assert code == 0, f"{verb}: {code}: {self.error()}"

    def error(self) -> str:
        """What the last story said when it did not."""
        path = self.directory / "error"
        return path.read_text() if path.exists() else ""

    def points(self, verb: str) -> list[str]:
        """The names of those that were passed."""
        path = self.directory / f"points-{verb}"
        return path.read_text().splitlines() if path.exists() else []

    def live(self) -> list[str]:
        """The boxes that the account has."""
        self.sim.account.live()
        return list(self.sim.account.boxes)

    def accounted_for(self) -> None:
        """`ls` and `sweep` know every box that bills, and whose it is."""
        self.well("look")
        told = json.loads((self.directory / "look.json").read_text())
        billing = set(self.sim.account.billing())
        for ref in self.live():
            mark, name, _ = told["sweep"][ref]
            assert (mark, name) == ("known", NAME), told
        assert billing <= set(told["sweep"]), told
        if self.live():
            assert NAME in told["ls"], told


@pytest.fixture(scope="module")
def pool() -> Iterator[list[Forks]]:
    """Some processes to fork from."""
    made = [Forks() for _ in range(WORKERS)]
    yield made
    for forks in made:
        forks.close()


def attempt(
    forks: Forks, directory: Path, verb: str, kill_at: int | None, *, look: bool, kind: str = "autodl"
) -> list[str]:
    """One kill, and what must hold after it; the points that were passed.

    `look`: somebody looks first, and that may settle what was left open; else the same is run again at once.
    """
    directory.mkdir(parents=True)
    (directory / "mybox.yml").write_text(BOX_FILES[kind])
    with account(kind) as sim:
        story = Try(forks, sim, directory)
        if verb == "down":
            story.well("up")
        before = len(sim.server.calls)
        code = story(verb, kill_at)
        assert code == (0 if kill_at is None else -signal.SIGKILL), story.error()
        passed = story.points(verb)
        # No call came from anywhere else; one that was killed right before it never came.
        calls = sum(name.startswith("call ") for name in passed)
        if kill_at is not None and passed[-1].startswith("call "):
            calls -= 1
        assert len(sim.server.calls) - before == calls
        if look:
            story.accounted_for()
        elif verb == "up":
            story.well("up")
            assert len(story.live()) == 1
            assert sim.server.count(CREATE[kind]) <= 2
        if story.live() or in_ledger(directory):
            story.well("down")
        assert story.live() == sim.account.billing() == in_ledger(directory) == []
        assert len(sim.account.wallet.meters) <= 1, "two boxes were made for one name"
    return passed


@contextmanager
def account(kind: str = "autodl") -> Iterator[Sim]:
    """One whose boxes need no time."""
    clock = SimClock(rate=1.0)
    paper = PaperMachines(clock, deaf_seconds=0.0)
    if kind == "autodl":
        with autodl(
            machines=paper, clock=clock, creating_seconds=0.0, starting_seconds=0.0, stopping_seconds=0.0
        ) as sim:
            yield sim
    else:
        with compshare(machines=paper, clock=clock, install_seconds=0.0, start_seconds=0.0, stop_seconds=0.0) as other:
            yield other


def in_ledger(directory: Path) -> list[str]:
    """The boxes that the ledger has, but for released ones."""
    with Ledger(directory / "home" / "ledger.sqlite3") as ledger:
        return [record.name for record in ledger.boxes()]


def test_every_write_to_the_ledger_is_a_point() -> None:
    """What `Points` does not know of, nobody is killed at."""
    writes = {
        name
        for name, method in vars(Ledger).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and re.search(r"_transaction\(|INSERT|UPDATE|DELETE", inspect.getsource(method))
    }
    assert writes == set(killing.WRITES)


@pytest.mark.parametrize("kind", ["autodl", "compshare"])
@pytest.mark.parametrize("verb", ["up", "down"])
def test_kill_everywhere(verb: str, kind: str, pool: list[Forks], tmp_path: Path) -> None:
    names = attempt(pool[0], tmp_path / "whole", verb, None, look=True, kind=kind)
    assert len(names) >= LEAST[verb], names
    free: queue.SimpleQueue[Forks] = queue.SimpleQueue()
    for forks in pool:
        free.put(forks)
    failed: list[str] = []

    def one(kill: tuple[int, bool]) -> None:
        number, look = kill
        forks = free.get()
        try:
            attempt(forks, tmp_path / f"kill-{number}-{look}", verb, number, look=look, kind=kind)
        except AssertionError as error:
            failed.append(f"killed before {number}, `{names[number - 1]}`: {error}")
        finally:
            free.put(forks)

    with ThreadPoolExecutor(WORKERS) as threads:
        # What gpubox makes of it is the same with every provider; with the second one either is tried, in turn.
        looks = (True, False)
        numbers = range(1, len(names) + 1)
        every = itertools.product(numbers, looks)
        list(threads.map(one, every if kind == "autodl" else zip(numbers, itertools.cycle(looks), strict=False)))
    assert not failed, "\n\n".join(failed)


def test_a_box_that_comes_only_after_its_client_was_killed_is_found(pool: list[Forks], tmp_path: Path) -> None:
    (tmp_path / "mybox.yml").write_text(BOX_FILES["autodl"])
    with account() as sim:
        story = Try(pool[0], sim, tmp_path, grace=20.0)
        story.well("up")
        number = story.points("up").index("call create") + 1
        story.well("down")
        # The provider has the request, takes its time, and its client is dead before the box is there.
        sim.faults.act("create", lambda: time.sleep(1.5), nth=2, done=False)
        assert story("up", number, delay=0.3) == -signal.SIGKILL
        assert story.live() == []
        story.well("down")
        assert sim.server.count("create") == 2
        assert len(sim.account.wallet.meters) == 2
        assert story.live() == in_ledger(tmp_path) == []
        receipt = json.loads((tmp_path / "down.json").read_text())
        assert receipt["ref"] in sim.account.wallet.meters
