"""The same as `test_rent_kills.py` with EC2, whose account is moto's: SIGKILL at its calls and at the ledger's writes.

One moto has one account, so these run one after another.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.test_rent_kills import LEAST, Forks, Try, in_ledger
from sim.clock import SimClock
from sim.ec2 import REGION, aws, moto_server
from sim.machines import PaperMachines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sim.ec2 import Aws

_BOX_FILE = "provider: ec2\ngpu: {name: A10G}\nmax_price: 3\n"
_ENDED = ("shutting-down", "terminated")


@dataclass
class _Account:
    """moto's, as `Try` looks at one."""

    cloud: Aws

    @property
    def boxes(self) -> list[str]:
        return [f"{REGION}/{one['InstanceId']}" for one in self.cloud.instances()]

    def live(self) -> list[str]:
        return self.boxes

    def billing(self) -> list[str]:
        return self.boxes

    def made(self) -> int:
        """How many instances there ever were."""
        return len(self.cloud.instances("pending", "running", "stopping", "stopped", *_ENDED))


@dataclass
class _Sim:
    cloud: Aws
    environment: dict[str, str]
    account: Any


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """A process to fork from."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Where AWS is."""
    with moto_server() as url:
        yield url


@contextmanager
def _account(moto: str) -> Iterator[_Sim]:
    with aws(moto, PaperMachines(SimClock(rate=1.0), deaf_seconds=0.0)) as cloud:
        yield _Sim(cloud, cloud.environment, _Account(cloud))


def _attempt(forks: Forks, moto: str, directory: Path, verb: str, kill_at: int | None, *, look: bool) -> list[str]:
    """One kill, and what must hold after it, as `test_rent_kills.attempt`; the points that were passed."""
    directory.mkdir()
    (directory / "mybox.yml").write_text(_BOX_FILE)
    with _account(moto) as sim:
        story = Try(forks, sim, directory)
        if verb == "down":
            story.well("up")
        code = story(verb, kill_at)
        assert code == (0 if kill_at is None else -signal.SIGKILL), story.error()
        passed = story.points(verb)
        if look:
            story.accounted_for()
        elif verb == "up":
            story.well("up")
            assert len(story.live()) == 1
        if story.live() or in_ledger(directory):
            story.well("down")
        assert story.live() == in_ledger(directory) == []
        assert sim.account.made() <= 1, "two boxes were made for one name"
    return passed


@pytest.mark.parametrize("verb", ["up", "down"])
def test_kill_everywhere(verb: str, forks: Forks, moto: str, tmp_path: Path) -> None:
    names = _attempt(forks, moto, tmp_path / "whole", verb, None, look=True)
    assert len(names) >= LEAST[verb], names
    failed = []
    for number, name in enumerate(names, 1):
        try:
            # Either is tried in turn: somebody looks first, or the same is run again at once.
            _attempt(forks, moto, tmp_path / f"kill-{number}", verb, number, look=number % 2 == 0)
        except AssertionError as error:
            failed.append(f"killed before {number}, `{name}`: {error}")
    assert not failed, "\n\n".join(failed)


def test_what_costs_nothing_goes_with_the_next_box(forks: Forks, moto: str, tmp_path: Path) -> None:
    """A group and a key pair whose box is gone, as a `down` leaves them that was killed right behind its end."""
    (tmp_path / "mybox.yml").write_text(_BOX_FILE)
    with _account(moto) as sim:
        story = Try(forks, sim, tmp_path)
        for verb in ("up", "down"):
            story.well(verb)
        number = story.points("down").index("call DeleteKeyPair") + 1
        story.well("up")
        assert story("down", number) == -signal.SIGKILL
        story.well("down")
        assert (story.live(), len(sim.cloud.groups()), len(sim.cloud.key_pairs())) == ([], 1, 1)
        for verb in ("up", "down"):
            story.well(verb)
        assert (story.live(), sim.cloud.groups(), sim.cloud.key_pairs()) == ([], [], [])
