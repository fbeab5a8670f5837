"""Ansible callback: the run as JSON lines, for whoever follows it (docs/architecture.md, "Events")."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

DOCUMENTATION = r"""
name: gpubox_events
type: notification
short_description: Writes the run as JSON lines
description:
  - Appends one JSON object per event to the file named by the environment variable C(GPUBOX_EVENTS), and flushes each.
  - Does nothing when the variable is not set. Trouble with the file never stops the run.
  - Nothing of a C(no_log) task is written but its status and its name, untemplated.
requirements:
  - enable in configuration
"""

TAIL = 4000
HIDDEN = "(hidden: no_log)"
_META = {"meta", "ansible.builtin.meta", "ansible.legacy.meta"}
_SAYING = {"debug", "ansible.builtin.debug"}


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    """Writes events. A line is written with one `write`, so a follower sees whole lines or none."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "gpubox_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = os.environ.get("GPUBOX_EVENTS", "")
        self._handle: int | None = None
        self._started: dict[tuple[str, str], float] = {}
        self._open()

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """The playbook begins."""
        self._emit("start", playbook=os.path.basename(str(playbook._file_name)))  # noqa: PTH119  (a name, not a file)

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """A play begins; `tasks` counts what is known now (imports and roles, not includes)."""
        blocks = play.compile()
        count = sum(1 for block in blocks for task in block.get_tasks() if task.action not in _META)
        self._emit("play", name=play.get_name().strip(), tasks=count)

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """A task begins."""
        self._emit("task", id=task._uuid, name=_name(task), role=_role(task))

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        """A handler begins."""
        self._emit("task", id=task._uuid, name=_name(task), role=_role(task))

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        """A task begins on one host."""
        self._started[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """A task ended well."""
        self._result("changed" if result.result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """A task was skipped."""
        self._result("skipped", result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """The host did not answer."""
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """The run has ended."""
        self._emit("end", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})

    def _result(self, status: str, result: CallbackTaskResult) -> None:
        host, task = result.host.get_name(), result.task
        began = self._started.pop((host, task._uuid), None)
        seconds = 0.0 if began is None else round(time.monotonic() - began, 3)
        words: Mapping[str, object] = {}
        if status in {"failed", "ignored", "unreachable"}:
            words = _words(result.result, hidden=bool(task.no_log))
        elif jobs := _jobs(result.result):
            words = {"jobs": jobs}
        elif status == "ok" and task.action in _SAYING and not task.no_log:
            # Our roles say with it what people should know although all is well.
            words = {"msg": _tail(result.result.get("msg", ""))}
        self._emit("result", id=task._uuid, host=host, status=status, s=seconds, **words)

    def _open(self) -> None:
        if not self._path:
            return
        try:
            # 0600: a failing program's stderr can hold anything.
            self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._display.warning(f"gpubox_events: cannot open `{self._path}`: {error.strerror}; no events are written")

    def _emit(self, event: str, **fields: object) -> None:
        if self._handle is None:
            return
        line = json.dumps({"event": event, "t": round(time.time(), 3), **fields}, ensure_ascii=False, default=str)
        try:
            os.write(self._handle, f"{line}\n".encode("utf-8", "replace"))
        except OSError as error:
            self._handle = None
            self._display.warning(
                f"gpubox_events: cannot write `{self._path}`: {error.strerror}; no more events are written"
            )


def _jobs(result: Mapping[str, Any]) -> list[dict[str, object]]:
    """When each job ran that the module `gpubox_job` started or waited for, of one call or of a loop."""
    items = [result, *(result.get("results") or [])]
    found = (item.get("job") for item in items if isinstance(item, dict))
    return [
        {key: job[key] for key in ("name", "started", "ended")}
        for job in found
        if isinstance(job, dict) and job.get("started") and job.get("ended") and "name" in job
    ]


def _words(result: Mapping[str, Any], *, hidden: bool) -> dict[str, str]:
    """What a failed task says, from its own result or, of a loop, from the first item that failed."""
    if hidden or result.get("_ansible_no_log") or "censored" in result:
        return {"msg": HIDDEN}
    failed = [item for item in result.get("results") or [] if item.get("failed") or item.get("unreachable")]
    words = {}
    if failed:
        result = failed[0]
        if result.get("_ansible_no_log") or "censored" in result:
            return {"msg": HIDDEN}
        words["item"] = str(result.get("_ansible_item_label", result.get("item", "")))
    stderr = result.get("stderr") or result.get("module_stderr") or ""
    return {**words, "msg": _tail(result.get("msg", "")), "stderr": _tail(stderr)}


def _tail(value: object) -> str:
    return str(value)[-TAIL:]


def _name(task: Task) -> str:
    """As people read it; of a `no_log` task as it stands in the source, since templating may fill a secret in."""
    if task.no_log:
        return str((task.get_ds() or {}).get("name") or task.action)
    return str(task.get_name()).strip()


def _role(task: Task) -> str | None:
    return str(task._role.get_name()) if task._role else None
