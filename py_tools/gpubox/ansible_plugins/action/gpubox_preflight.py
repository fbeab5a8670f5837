"""Action plugin `gpubox_preflight`: can this host become what its box file says? Changes nothing, check mode or not.

    - gpubox_preflight:
        box: "{{ gpubox_box }}"      # a box file's content; without it only what gpubox itself needs is checked
        data_dir: /root/autodl-tmp   # the big disk, where the box file does not name it

Runs the probe on the host over Ansible's own connection and judges the facts here. Fails with every blocker and its
fix. Returns `findings` (level, check, message, fix), `data_dir`, `root` and the facts that plays want to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from pydantic import ValidationError

from gpubox import preflight
from gpubox.boxfile import BoxFile
from gpubox.errors import Failed
from gpubox.remote.facts import PROBE, command, parse

if TYPE_CHECKING:
    from gpubox.remote.facts import Facts


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """The action; see the module's words."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Probe, plan, and fail when there are blockers."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={"box": {"type": "dict", "default": {}}, "data_dir": {"type": "str", "default": ""}}
        )
        box = _box(arguments["box"], arguments["data_dir"])
        try:
            facts = parse(self._probe(arguments["data_dir"] or (box.data_dir if box else None), box))
        except Failed as error:
            raise AnsibleActionFail(f"{error.message}\n{error.hint}") from None
        findings = preflight.plan(facts, box)
        data_dir = arguments["data_dir"].rstrip("/") or preflight.data_dir(facts, box)
        result: dict[str, Any] = {
            "changed": False,
            "findings": findings.as_dicts(),
            "warnings": [_words(item) for item in findings.warnings],
            "data_dir": data_dir,
            "root": f"{data_dir}/gpubox",
            "facts": _subset(facts),
            "msg": f"nothing stands in the way of {len(findings.items)} things looked at",
        }
        if findings.blockers:
            blockers = "\n".join(f"- {_words(item)}" for item in findings.blockers)
            result |= {"failed": True, "msg": f"this box cannot become what its box file says:\n{blockers}"}
        return result

    def _probe(self, data_dir: str | None, box: BoxFile | None) -> str:
        ports = preflight.wanted_ports(box).values()
        if self._connection.has_pipelining:
            answer = self._low_level_execute_command(command(data_dir, ports), in_data=PROBE.encode())
        else:
            directory = self._make_tmp_path()
            try:
                script = self._transfer_data(self._connection._shell.join_path(directory, "probe.sh"), PROBE)
                self._fixup_perms2((directory, script))
                answer = self._low_level_execute_command(command(data_dir, ports, script=script))
            finally:
                self._remove_tmp_path(directory)
        if answer["rc"] != 0:
            said = (answer["stderr"] or answer["stdout"]).strip()[-300:]
            raise AnsibleActionFail(f"the probe ended with exit code {answer['rc']}: {said}")
        return str(answer["stdout"])


def _box(given: dict[str, Any], data_dir: str) -> BoxFile | None:
    if not given:
        return None
    try:
        box = BoxFile.model_validate(given)
    except ValidationError as error:
        mistakes = "\n".join(f"- {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        # Ansible would print the cause too, which is pydantic's page of the same.
        raise AnsibleActionFail(f"`box` is no box file:\n{mistakes}") from None
    return box if box.data_dir or not data_dir else box.model_copy(update={"data_dir": data_dir.rstrip("/")})


def _words(item: preflight.Finding) -> str:
    return f"{item.check}: {item.message}" + (f"; fix: {item.fix}" if item.fix else "")


def _subset(facts: Facts) -> dict[str, Any]:
    """What a play may want to decide by; sizes in bytes."""
    return {
        "hostname": facts.system.hostname,
        "arch": facts.system.arch,
        "os": facts.system.os_name,
        "cores": facts.cpu.effective,
        "memory": facts.memory.effective,
        "gpus": [card.name for card in facts.gpus],
        "driver": facts.gpu.driver,
        "autodl": facts.autodl.likely,
    }
