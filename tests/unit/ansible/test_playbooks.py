"""The playbooks: they parse, and `up` starts long work before it waits for any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from unit.ansible.conftest import CHECKOUT, Ansible

if TYPE_CHECKING:
    from pathlib import Path

PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("*.yml"))


def listed(place: Path, playbook: Path, *options: str) -> list[str]:
    done = Ansible(place).playbook(playbook, "--list-tasks", *options)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return [line.split("\tTAGS")[0].strip() for line in done.stdout.splitlines() if "TAGS: " in line][1:]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_parses(path: Path, tmp_path: Path) -> None:
    assert listed(tmp_path, path)


def test_up_starts_first_and_waits_last(tmp_path: Path) -> None:
    tasks = listed(tmp_path, CHECKOUT / "playbooks/up.yml")
    roles = list(dict.fromkeys(task.partition(" : ")[0] for task in tasks))
    assert roles[:3] == ["preflight", "base", "supervisor"]
    environment = tasks.index("python_env : Make the environment")
    training = tasks.index("small_gpt : Train the small model")
    assert environment < training < tasks.index("python_env : Wait for the environment")
    assert tasks.index("vllm : Wait for the model") < tasks.index("vllm : Run vLLM as a service")


def test_remove_ends_with_what_it_may_run_on(tmp_path: Path) -> None:
    """The controller environment can be the only Python of a box: nothing can be removed after it."""
    tasks = listed(tmp_path, CHECKOUT / "playbooks/remove.yml")
    order = [
        next(i for i, task in enumerate(tasks) if task.startswith(role)) for role in ("vllm", "base", "supervisor")
    ]
    assert order == sorted(order)


def test_models_are_fetched_first_and_waited_for_last() -> None:
    """Roles that depend on the engine are included while it runs, so the play's own words are read."""
    tasks = [task["name"] for task in yaml.safe_load((CHECKOUT / "playbooks/up.yml").read_text())[0]["tasks"]]
    order = ["Start fetching the models", "Start making the environment of the engine", "Serve the model"]
    places = [tasks.index(name) for name in [*order, "Wait for the models"]]
    assert places == sorted(places)
    assert tasks.index("Start fetching the models") < tasks.index("Start making the environment of vLLM")
