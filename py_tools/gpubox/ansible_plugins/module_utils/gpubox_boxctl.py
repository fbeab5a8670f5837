"""Talk to `boxctl` on the box. Runs on the box under any Python >= 3.8, so it imports the standard library only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LOG_LINES = 30
HIDDEN = "(hidden)"
_SECRET_WORDS = ("KEY", "TOKEN", "PASSWORD", "SECRET")


class BoxctlError(Exception):
    """`boxctl` ended with an error; `detail` is what it said."""

    def __init__(self, command: str, exit_code: int, detail: str) -> None:
        super().__init__(f"`boxctl {command}` failed (exit code {exit_code}): {detail}")
        self.exit_code = exit_code
        self.detail = detail


class Boxctl:
    """The `boxctl` of one gpubox root. Specs travel on stdin: argv is readable by every user of the box."""

    def __init__(self, module: AnsibleModule, root: str) -> None:
        self._module = module
        self._root = root
        self._program = str(Path(root) / "bin" / "boxctl")

    @property
    def installed(self) -> bool:
        """Whether the role `supervisor` has been here; in check mode on a fresh box it has not."""
        return os.access(self._program, os.X_OK)

    def call(self, *arguments: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one command and return the JSON object that it prints. Raises `BoxctlError`."""
        output = self.text(*arguments, spec=spec)
        lines = output.strip().splitlines()
        try:
            answer = json.loads(output if len(lines) != 1 else lines[-1])
        except ValueError:
            raise BoxctlError(" ".join(arguments), 0, f"answered no JSON: {output[-500:]!r}") from None
        if not isinstance(answer, dict):
            raise BoxctlError(" ".join(arguments), 0, f"answered no JSON object: {output[-500:]!r}")
        return answer

    def text(self, *arguments: str, spec: dict[str, Any] | None = None) -> str:
        """Run one command and return its stdout. Raises `BoxctlError`."""
        if not self.installed:
            raise BoxctlError(
                " ".join(arguments), 127, f"`{self._program}` is missing; run the role `supervisor` first"
            )
        data = None if spec is None else json.dumps(spec)
        code, out, err = self._module.run_command(
            [self._program, *arguments], data=data, environ_update={"GPUBOX_ROOT": self._root}
        )
        if code != 0:
            raise BoxctlError(" ".join(arguments), code, _words(out, err))
        return str(out)

    def status(self) -> dict[str, Any]:
        """`boxctl status`."""
        return self.call("status")

    def service(self, name: str) -> dict[str, Any] | None:
        """The service's object in `status`, or None when there is no such service."""
        return _named(self.status().get("services"), name)

    def job(self, name: str) -> dict[str, Any] | None:
        """The job's object in `status`, or None when there is no such job."""
        return _named(self.status().get("jobs"), name)

    def last_lines(self, name: str) -> str:
        """The last lines of a service's or job's log; empty when they cannot be read: they only illustrate an error."""
        try:
            return self.text("logs", name, "--lines", str(LOG_LINES)).rstrip()
        except BoxctlError:
            return ""


def redacted(diff: object) -> object:
    """A copy of a diff in which the values of environment variables named like secrets are hidden."""
    if isinstance(diff, str) and diff.lstrip().startswith("{"):
        try:
            return json.dumps(redacted(json.loads(diff)), indent=2, sort_keys=True) + "\n"
        except ValueError:
            return diff
    if isinstance(diff, dict):
        return {key: HIDDEN if _is_secret(key, value) else redacted(value) for key, value in diff.items()}
    if isinstance(diff, list):
        return [redacted(item) for item in diff]
    return diff


def _is_secret(key: str, value: object) -> bool:
    return isinstance(value, str) and key.isupper() and any(word in key for word in _SECRET_WORDS)


def _named(objects: list[object] | None, name: str) -> dict[str, Any] | None:
    for item in objects or []:
        if isinstance(item, dict) and item.get("name") == name:
            return item
    return None


def _words(out: str, err: str) -> str:
    """`boxctl` puts its reason in the field `error` of its JSON, or in words on stderr."""
    try:
        answer = json.loads(out)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("error"):
        return str(answer["error"])
    return (err.strip() or out.strip() or "no message")[-2000:]
