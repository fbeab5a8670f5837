"""Running tasks for real: `ansible-playbook` on this machine, with the project's own ansible.cfg."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]


@dataclass
class Ansible:
    """Runs plays below one scratch directory, which is also HOME."""

    place: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The gpubox root of the tests' box, which is this machine."""
        return self.place / "root"

    def play(
        self, tasks: list[dict[str, Any]], *options: str, variables: dict[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one play over the tasks."""
        playbook = self.place / "play.yml"
        play = {"name": "Test", "hosts": "all", "gather_facts": False, "vars": variables or {}, "tasks": tasks}
        playbook.write_text(yaml.safe_dump([play], sort_keys=False, allow_unicode=True))
        return self.playbook(playbook, *options)

    def playbook(self, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook."""
        bins = str(Path(sys.executable).parent)
        environment = {
            "PATH": f"{bins}:{os.environ['PATH']}",
            "HOME": str(self.place),
            "LANG": "C.UTF-8",
            "GPUBOX_HOME": str(self.place / "gpubox-home"),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            **self.environment,
        }
        interpreter = ["-e", f"ansible_python_interpreter={sys.executable}"]
        return subprocess.run(
            [f"{bins}/ansible-playbook", "-i", "localhost,", "-c", "local", *interpreter, *options, str(playbook)],
            cwd=self.place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def results(self, tasks: list[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
        """Run the tasks, failing ones too, and return what each returned."""
        out = self.place / "results.json"
        out.unlink(missing_ok=True)
        registered = [
            {"name": f"Task {number}", **task, "register": f"result{number}", "ignore_errors": True}
            for number, task in enumerate(tasks)
        ]
        names = ", ".join(f"result{number}" for number in range(len(tasks)))
        save = {
            "name": "Save the results",
            "ansible.builtin.copy": {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(out), "mode": "0600"},
            "check_mode": False,
            "no_log": True,
        }
        done = self.play([*registered, save], *options)
        assert out.exists(), done.stdout + done.stderr
        results: list[dict[str, Any]] = json.loads(out.read_text())
        return results

    def install_boxctl(self) -> None:
        """Put the fake `boxctl` where the modules look for it."""
        program = self.root / "bin" / "boxctl"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_boxctl.py"} "$@"\n')
        program.chmod(0o755)

    def install_python(self) -> None:
        """Let this Python be the controller's."""
        python = self.root / "controller/bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)

    def calls(self) -> list[list[str]]:
        """How `boxctl` was called so far."""
        path = self.root / "calls.jsonl"
        return [json.loads(line)["argv"] for line in path.read_text().splitlines()] if path.exists() else []

    def stdins(self) -> list[str]:
        """What `boxctl` got on stdin so far."""
        return [json.loads(line)["stdin"] for line in (self.root / "calls.jsonl").read_text().splitlines()]

    def told(self) -> dict[str, dict[str, Any]]:
        """By name, the specification that `boxctl` was given of each job and service."""
        calls = zip(self.calls(), self.stdins(), strict=True)
        return {argv[2]: json.loads(stdin) for argv, stdin in calls if argv[1:2] in (["start"], ["apply"])}

    def state(self, kind: str, name: str, **fields: object) -> None:
        """Change what `boxctl status` says of a service or job."""
        path = self.root / "fake.json"
        state = json.loads(path.read_text()) if path.exists() else {"services": {}, "jobs": {}}
        state[kind].setdefault(name, {"name": name}).update(fields)
        path.write_text(json.dumps(state))


class Hosts:
    """One play over several hosts, a case each: directories of this machine, with the fake `boxctl` in them."""

    def __init__(self, place: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
        """`cases`: a host's variables by its name; `{root}` in them stands for its root."""
        self.boxes = {name: Ansible(place / name) for name in cases}
        hosts = {}
        for name, box in self.boxes.items():
            box.install_boxctl()
            box.install_python()
            values = json.loads(json.dumps(cases[name]).replace("{root}", str(box.root)))
            hosts[name] = {"ansible_connection": "local", "gpubox_root": str(box.root), **values}
        inventory = place / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        self._runner = Ansible(place)
        self._options = ("-i", str(inventory), "--limit", "!localhost", "--forks", "2")

    def play(self, tasks: list[dict[str, Any]], *options: str) -> subprocess.CompletedProcess[str]:
        """Run one play over the tasks on all hosts."""
        return self._runner.play(tasks, *self._options, *options)

    def serve(self, role: str, stages: Sequence[str], *options: str) -> str:
        """The stages of a role that starts jobs, the last of which serves; what was printed last.

        Check mode would start no job, and the real run would wait for an engine: so the one, then the other.
        """
        tasks = [stage(role, name) for name in stages]
        for more, some in (((), tasks[:-1]), (("--check", "--diff"), tasks[-1:])):
            done = self.play(some, *options, *more)
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr
            assert "sk-hunter2" not in done.stdout + done.stderr
        return done.stdout

    def told(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By host and name, the specification that `boxctl` was given of each job and service."""
        return {name: box.told() for name, box in self.boxes.items()}


def stage(role: str, name: str) -> dict[str, Any]:
    """The task that runs one file of a role's tasks."""
    return {"name": name, "ansible.builtin.import_role": {"name": role, "tasks_from": name}}


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    """Ansible in a scratch directory, with the fake `boxctl` there."""
    runner = Ansible(tmp_path)
    runner.install_boxctl()
    return runner
