"""What a converge says while it runs: the lines of `boxctl follow`, typed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from gpubox.converge.jobs import Job, seconds_of


@dataclass(frozen=True, slots=True)
class Message:
    """One line of `boxctl follow`: `type` is `event`, `job`, `heartbeat` or `end`."""

    type: str
    data: dict[str, Any]

    @classmethod
    def parse(cls, line: str) -> Message | None:
        """The message in `line`, or None for a line that is none (a login banner, a warning of the box's shell)."""
        try:
            data = json.loads(line)
        except ValueError:
            return None
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            return None
        return cls(data["type"], data)


@dataclass(slots=True)
class Role:
    """How far one role of the playbook is; `done` counts its tasks that were not skipped."""

    name: str
    task: str = ""
    done: int = 0
    changed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran: seconds since 1970, by the box's clock."""

    name: str
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Finished:
    """One task that ran to its end. `status` is ok, changed, failed, ignored or unreachable.

    `ended`: seconds since 1970 by the box's clock, None where it was not told. `jobs`: those that the task started or
    waited for, and that have ended.
    """

    role: str | None
    task: str
    status: str
    seconds: float
    ended: float | None = None
    jobs: tuple[Span, ...] = ()

    @property
    def began(self) -> float | None:
        """When it began, by the box's clock."""
        return None if self.ended is None else self.ended - self.seconds


@dataclass(slots=True)
class Failure:
    """The task that ended a converge."""

    role: str | None
    task: str
    message: str
    stderr: str = ""


@dataclass(slots=True)
class Story:
    """The converge so far, folded from its messages. Times are seconds; `begun` and `now` by the box's clock.

    `warnings`: what roles say although all is well.
    """

    roles: dict[str, Role] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    tasks_total: int = 0
    tasks_done: int = 0
    changed: int = 0
    finished: list[Finished] = field(default_factory=list)
    failure: Failure | None = None
    warnings: list[str] = field(default_factory=list)
    end: dict[str, Any] | None = None
    offset: int = 0
    current: str | None = None
    begun: float | None = None
    now: float | None = None
    _tasks: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Fold one message in."""
        if message.type == "event":
            self.offset = int(message.data.get("offset", self.offset))
            self._event(message.data["event"])
        elif message.type == "job":
            name = str(message.data["name"])
            self.jobs.setdefault(name, Job(name)).take(dict(message.data.get("progress") or {}))
        elif message.type == "heartbeat":
            self.now = seconds_of(message.data.get("t"))
        elif message.type == "end":
            self.end = message.data

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "start":
            self.begun = seconds_of(event.get("t"))
        elif kind == "play":
            self.tasks_total += int(event.get("tasks", 0))
        elif kind == "task":
            role = event.get("role")
            self._tasks[str(event["id"])] = (role, str(event.get("name", "")))
            if role:
                self.current = role
                self.roles.setdefault(role, Role(role)).task = _without_role(str(event.get("name", "")), role)
        elif kind == "result":
            self._result(event)

    def _result(self, event: dict[str, Any]) -> None:
        role, task = self._tasks.get(str(event.get("id")), (None, ""))
        status = event.get("status")
        self.tasks_done += 1
        if status == "skipped":
            return
        seconds = float(event.get("s", 0.0))
        ended = seconds_of(event.get("t"))
        self.finished.append(
            Finished(role, _without_role(task, role), str(status), seconds, ended, _spans(event.get("jobs")))
        )
        if role:
            state = self.roles.setdefault(role, Role(role))
            state.seconds += seconds
            state.done += not task.startswith(_ARGUMENTS, len(role) + 3)
            state.changed += status == "changed"
        self.changed += status == "changed"
        if status == "ok" and (said := str(event.get("msg", ""))):
            self.warnings.append(said)
        if status in ("failed", "unreachable"):
            self.failure = Failure(
                role, _without_role(task, role), str(event.get("msg", "")), str(event.get("stderr", ""))
            )


# Ansible's own first task of a role: no work of the role's, and nothing to tell a person.
_ARGUMENTS = "Validating arguments"


def _without_role(task: str, role: str | None) -> str:
    return task.removeprefix(f"{role} : ") if role else task


def _spans(jobs: object) -> tuple[Span, ...]:
    found = []
    for job in jobs if isinstance(jobs, list) else []:
        started, ended = seconds_of(job.get("started")), seconds_of(job.get("ended"))
        if started is not None and ended is not None:
            found.append(Span(str(job.get("name", "")), started, ended))
    return tuple(found)
