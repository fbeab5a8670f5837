#!/usr/bin/python
"""Ansible module: a job of the box (a program that ends), kept by supervisord through `boxctl`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpubox_boxctl import Boxctl, BoxctlError

DOCUMENTATION = r"""
module: gpubox_job
short_description: Start, wait for or remove a job of the box
description:
  - A job is a program that ends, such as a download, a build or a training. It outlives the play and the connection.
  - A job that is done with the same O(key), or is running with it, is left alone; so a second converge starts nothing.
  - The specification travels to C(boxctl) on stdin, never in argv.
options:
  root: {description: The gpubox root on the box., type: path, required: true}
  name: {description: Name of the job., type: str, required: true}
  state:
    description:
      - V(started) has it started and does not wait.
      - V(done) has it started and waits until it is done. Without O(argv) it waits for a job started elsewhere.
      - V(absent) cancels and forgets it; what it made stays.
    type: str
    choices: [started, done, absent]
    default: started
  key: {description: Hash of everything that the result depends on., type: str}
  argv: {description: Program and arguments., type: list, elements: str}
  env: {description: Environment variables., type: dict, default: {}}
  secret_env: {description: Environment variables whose values are never shown., type: dict, default: {}}
  cwd: {description: Working directory., type: path}
  precious: {description: Paths to bring home before the box goes., type: list, elements: str, default: []}
  description: {description: One line for people., type: str, default: ""}
  progress_file: {description: Where progress lines go; boxctl chooses when unset., type: path}
  creates:
    description: What the job leaves when it is done. When a job is done but this is missing, it runs again.
    type: path
  timeout: {description: Seconds to wait for V(done)., type: int, default: 7200}
author: gpubox developers
attributes:
  check_mode: {support: full, description: Says whether the job would be started or removed.}
  diff_mode: {support: full, description: Shows state and key before and after.}
"""

EXAMPLES = r"""
- name: Start the download
  gpubox_job:
    root: "{{ gpubox_root }}"
    name: download-model
    key: "{{ revision }}"
    argv: [/usr/bin/curl, -o, /data/model, "https://example.org/model"]

- name: Wait for the download
  gpubox_job:
    root: "{{ gpubox_root }}"
    name: download-model
    state: done
    timeout: 3600
"""

RETURN = r"""
job:
  description: The job as `boxctl status` shows it; null when there is none.
  returned: always
  type: dict
"""

ARGUMENTS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "done", "absent"], "default": "started"},
    "key": {"type": "str", "no_log": False},
    "argv": {"type": "list", "elements": "str"},
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": True},
    "cwd": {"type": "path"},
    "precious": {"type": "list", "elements": "str", "default": []},
    "description": {"type": "str", "default": ""},
    "progress_file": {"type": "path"},
    "creates": {"type": "path"},
    "timeout": {"type": "int", "default": 7200},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "started", ("key", "argv"))],
        required_together=[("key", "argv")],
        supports_check_mode=True,
    )
    work = JobWork(module)
    try:
        work.do()
    except BoxctlError as error:
        module.fail_json(msg=f"job `{work.name}`: {error}", stderr=work.boxctl.last_lines(work.name))


class JobWork:
    """One call of the module; every method that ends the module says so in its name."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.wanted = module.params
        self.name: str = module.params["name"]
        self.boxctl = Boxctl(module, module.params["root"])

    def do(self) -> None:
        """Bring the job to its state and exit the module."""
        if self.module.check_mode and not self.boxctl.installed:
            self._exit(changed=self.wanted["argv"] is not None, before=None, after=None)
        before = self.boxctl.job(self.name)
        if self.wanted["state"] == "absent":
            self._remove(before)
        elif self.wanted["argv"] is None:
            self._wait_and_exit(before, before, changed=False)
        else:
            self._start(before)

    def _start(self, before: dict[str, Any] | None) -> None:
        fresh = self._fresh(before)
        if self.module.check_mode:
            self._exit(changed=not fresh, before=before, after=before)
        changed = False
        after = before
        if not fresh:
            if before and before.get("state") == "done":
                self.boxctl.call("job", "remove", self.name)  # else `job start` would take it for done
            answer = self.boxctl.call("job", "start", self.name, spec=self._spec())
            changed = bool(answer.get("changed", True))
            after = self.boxctl.job(self.name)
        if self.wanted["state"] == "done":
            self._wait_and_exit(before, after, changed=changed)
        self._exit(changed=changed, before=before, after=after)

    def _fresh(self, job: dict[str, Any] | None) -> bool:
        if job is None or job.get("key") != self.wanted["key"]:
            return False
        if job.get("state") == "running":
            return True
        creates = self.wanted["creates"]
        return job.get("state") == "done" and (creates is None or Path(creates).exists())

    def _spec(self) -> dict[str, Any]:
        spec = {name: self.wanted[name] for name in ("key", "argv", "cwd", "precious", "description", "progress_file")}
        spec["env"] = {k: str(v) for k, v in {**self.wanted["env"], **self.wanted["secret_env"]}.items()}
        return spec

    def _wait_and_exit(self, before: dict[str, Any] | None, job: dict[str, Any] | None, *, changed: bool) -> None:
        if job is None:
            if self.module.check_mode:
                self._exit(changed=False, before=None, after=None)
            self.module.fail_json(msg=f"there is no job `{self.name}` to wait for")
        if self.module.check_mode or (job and job.get("state") == "done"):
            self._exit(changed=changed, before=before, after=job)
        trouble = ""
        try:
            self.boxctl.call("job", "wait", self.name, "--timeout", str(self.wanted["timeout"]))
        except BoxctlError as error:
            trouble = error.detail
        after = self.boxctl.job(self.name)
        state = after.get("state") if after else "gone"
        if state != "done":
            self._fail(after, state, trouble)
        # Whoever waits for another's job has changed nothing; the task that started it said so.
        self._exit(changed=changed, before=before, after=after)

    def _fail(self, job: dict[str, Any] | None, state: object, trouble: str) -> None:
        log = self.boxctl.last_lines(self.name)
        if state == "running":
            reason = (
                f"still runs after {self.wanted['timeout']} s; it goes on, and a second converge waits for it again"
            )
        else:
            code = (job or {}).get("exit_code")
            reason = f"{state}" + (f" (exit code {code})" if code is not None else "")
            reason += f": {(job or {}).get('last_error') or trouble or 'no message'}"
        message = f"job `{self.name}` {reason}"
        if log:
            message += f"\nlast lines of its log:\n{log}"
        self.module.fail_json(msg=message, stderr=log, job=job)

    def _remove(self, before: dict[str, Any] | None) -> None:
        if before is not None and not self.module.check_mode:
            self.boxctl.call("job", "remove", self.name)
        self._exit(changed=before is not None, before=before, after=None)

    def _exit(self, *, changed: bool, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if self.wanted["state"] == "absent":
            planned: dict[str, Any] = {"state": "absent"}
        elif changed:
            planned = {"state": self.wanted["state"], "key": self.wanted["key"]}
        else:
            planned = _short(before)
        self.module.exit_json(changed=changed, job=after, diff={"before": _short(before), "after": planned})


def _short(job: dict[str, Any] | None) -> dict[str, Any]:
    return {"state": "absent"} if job is None else {"state": job.get("state"), "key": job.get("key")}


if __name__ == "__main__":
    main()
