#!/usr/bin/python
"""Ansible module: a service of the box (a program that runs on), kept up by supervisord through `boxctl`."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpubox_boxctl import Boxctl, BoxctlError, redacted

DOCUMENTATION = r"""
module: gpubox_service
short_description: Start, stop or remove a service of the box
description:
  - A service is a program that runs on, such as an engine. supervisord keeps it up.
  - It is restarted when its specification changed, and started when it is stopped or failed.
  - The specification travels to C(boxctl) on stdin, never in argv, and lies on the box with mode 0600.
options:
  root: {description: The gpubox root on the box., type: path, required: true}
  name: {description: Name of the service., type: str, required: true}
  state:
    description:
      - V(started) has it there as specified and started; whether it answers is for M(gpubox_ready) to say.
      - V(stopped) stops it and keeps its specification.
      - V(absent) stops and forgets it.
    type: str
    choices: [started, stopped, absent]
    default: started
  argv: {description: Program and arguments., type: list, elements: str}
  env: {description: Environment variables., type: dict, default: {}}
  secret_env: {description: Environment variables whose values are never shown., type: dict, default: {}}
  cwd: {description: Working directory., type: path}
  port: {description: Port that it listens on., type: int}
  health_url: {description: Address that answers 200 when the service is well., type: str}
  start_seconds: {description: Seconds that it must run to count as started., type: int, default: 5}
  stop_seconds: {description: Seconds that it may take to stop., type: int, default: 30}
  precious: {description: Paths to bring home before the box goes., type: list, elements: str, default: []}
  description: {description: One line for people., type: str, default: ""}
author: gpubox developers
attributes:
  check_mode: {support: full, description: Says whether the service would change.}
  diff_mode: {support: full, description: Shows the specification before and after, secrets hidden.}
"""

EXAMPLES = r"""
- name: Serve the files
  gpubox_service:
    root: "{{ gpubox_root }}"
    name: files
    argv: [/usr/bin/python3, -m, http.server, --bind, 127.0.0.1, "8010"]
    port: 8010
    health_url: http://127.0.0.1:8010/
"""

RETURN = r"""
service:
  description: The service as `boxctl status` shows it; null when there is none.
  returned: always
  type: dict
"""

SPEC_FIELDS = ("argv", "cwd", "port", "health_url", "start_seconds", "stop_seconds", "precious", "description")

ARGUMENTS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "argv": {"type": "list", "elements": "str"},
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": True},
    "cwd": {"type": "path"},
    "port": {"type": "int"},
    "health_url": {"type": "str"},
    "start_seconds": {"type": "int", "default": 5},
    "stop_seconds": {"type": "int", "default": 30},
    "precious": {"type": "list", "elements": "str", "default": []},
    "description": {"type": "str", "default": ""},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("state", "started", ("argv",))], supports_check_mode=True
    )
    name: str = module.params["name"]
    boxctl = Boxctl(module, module.params["root"])
    try:
        result = _work(module, boxctl, name)
    except BoxctlError as error:
        module.fail_json(msg=f"service `{name}`: {error}", stderr=boxctl.last_lines(name))
    else:
        module.exit_json(**result)


def _work(module: AnsibleModule, boxctl: Boxctl, name: str) -> dict[str, Any]:
    state: str = module.params["state"]
    if module.check_mode and not boxctl.installed:
        after = _spec(module.params) if state == "started" else {}
        diff = {"before": {}, "after": redacted(after)}
        return {"changed": state == "started", "service": None, "diff": diff}
    if state == "started":
        return _started(module, boxctl, name)
    return _down(module, boxctl, name, state)


def _started(module: AnsibleModule, boxctl: Boxctl, name: str) -> dict[str, Any]:
    check = ["--check"] if module.check_mode else []
    answer = boxctl.call("service", "apply", name, *check, spec=_spec(module.params))
    changed = bool(answer.get("changed"))
    diff = answer.get("diff") or {"before": {}, "after": {}}
    service = boxctl.service(name)
    down = service is not None and service.get("state") in {"stopped", "failed"}
    if not changed and down:
        diff = {"before": {"state": service and service.get("state")}, "after": {"state": "started"}}
        changed = True
        if not module.check_mode:
            boxctl.call("service", "start", name)
            service = boxctl.service(name)
    return {"changed": changed, "service": service, "diff": redacted(diff)}


def _down(module: AnsibleModule, boxctl: Boxctl, name: str, state: str) -> dict[str, Any]:
    before = boxctl.service(name)
    changed = before is not None and (state == "absent" or before.get("state") != "stopped")
    if changed and not module.check_mode:
        boxctl.call("service", "remove" if state == "absent" else "stop", name)
    shown = {"state": before.get("state") if before else "absent"}
    return {
        "changed": changed,
        "service": before if module.check_mode else boxctl.service(name),
        "diff": {"before": shown, "after": {"state": state} if changed else shown},
    }


def _spec(wanted: dict[str, Any]) -> dict[str, Any]:
    spec = {name: wanted[name] for name in SPEC_FIELDS}
    spec["env"] = {key: str(value) for key, value in {**wanted["env"], **wanted["secret_env"]}.items()}
    return spec


if __name__ == "__main__":
    main()
