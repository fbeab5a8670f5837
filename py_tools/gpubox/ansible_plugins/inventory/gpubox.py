"""Ansible inventory: the boxes of gpubox's ledger, each with what its box file says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader

    from gpubox.errors import GpuboxError
    from gpubox.ledger import BoxRecord

DOCUMENTATION = r"""
name: gpubox
short_description: The boxes of gpubox's ledger
description:
  - Every live box that can be logged in to becomes a host; its box file becomes the variables of the roles.
  - Logs in with gpubox's own key and its own pinned host keys. Your C(~/.ssh) is not read.
  - Groups are C(provider_<name>), C(engine_<name>) and C(gpu_<name>), such as C(gpu_rtx_4090).
options:
  plugin:
    description: Marks a file as the configuration of this plugin.
    required: true
    choices: [gpubox]
  boxes_dir:
    description: Directory of the box files, relative to the current one. A file there wins over the ledger's.
    type: str
    default: ./boxes
    env: [{name: GPUBOX_BOXES}]
"""

EXAMPLES = r"""
# inventories/gpubox.yml
plugin: gpubox
"""


_PYTHONS = ["python3.13", "python3.12", "python3.11", "/usr/bin/python3", "python3", "/root/miniconda3/bin/python"]


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible has no types
    """Reads the ledger and the box files."""

    NAME = "gpubox"

    def verify_file(self, path: str) -> bool:
        """Whether the file can be this plugin's configuration: it is named `gpubox.yml` or `*.gpubox.yml`."""
        return bool(super().verify_file(path)) and Path(path).name.endswith(("gpubox.yml", "gpubox.yaml"))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Add every box that can be logged in to."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        boxes_dir = Path(str(self.get_option("boxes_dir"))).expanduser()
        try:
            from gpubox.errors import GpuboxError
            from gpubox.ledger import Ledger
        except ImportError as error:
            raise AnsibleParserError(
                f"the inventory plugin needs the package gpubox beside ansible ({error}): pip install gpubox"
            ) from error
        try:
            with Ledger() as ledger:
                records = ledger.boxes()
        except GpuboxError as error:
            raise AnsibleParserError(_sentence(error)) from error
        for record in records:
            try:
                self._add(record, boxes_dir)
            except GpuboxError as error:
                # The other boxes are none the worse for it.
                self.display.warning(f"gpubox: `{record.name}` is left out: {_sentence(error)}")

    def _add(self, record: BoxRecord, boxes_dir: Path) -> None:
        from gpubox.remote import ssh_config
        from gpubox.remote.login import Login

        if record.host is None or record.host_key is None or record.identity_file is None:
            self.display.vv(f"gpubox: `{record.name}` has no login yet and is left out")
            return
        wanted, groups = self._wanted(record, boxes_dir)
        login = Login.of(record)
        connection = {
            "ansible_host": ssh_config.alias(record.name),
            "ansible_port": login.endpoint.port,
            "ansible_user": login.endpoint.user,
            "ansible_ssh_private_key_file": str(login.identity_file),
            "ansible_ssh_common_args": f"-F '{ssh_config.write(login)}'",
        }
        self.inventory.add_host(record.name)
        for key, value in {**connection, **wanted}.items():
            self.inventory.set_variable(record.name, key, value)
        for group in [f"provider_{record.provider}", *groups]:
            self.inventory.add_child(self.inventory.add_group(group), record.name)

    def _wanted(self, record: BoxRecord, boxes_dir: Path) -> tuple[dict[str, Any], list[str]]:
        """The variables that the box file makes, and its groups."""
        from gpubox import boxfile, preflight
        from gpubox.converge.variables import role_variables
        from gpubox.remote.facts import Facts

        facts = Facts.model_validate(record.facts) if record.facts else None
        path = _box_file(record, boxes_dir)
        if path is None:
            self.display.warning(f"gpubox: `{record.name}` has no box file; `gpubox init {record.name}` writes one")
            return {}, []
        box = boxfile.load(path)
        groups = [f"engine_{box.engine}"] if box.engine else []
        if box.gpu:
            groups.append("gpu_" + re.sub(r"[^a-z0-9]+", "_", box.gpu.name.lower()).strip("_"))
        if facts is None and record.root is None:
            self.display.warning(
                f"gpubox: nothing is known of `{record.name}` yet; `gpubox doctor {record.name}` looks"
            )
            return {}, groups
        data_dir = record.data_dir or (preflight.data_dir(facts, box) if facts else "")
        root = record.root or (preflight.root(facts, box) if facts else "")
        variables = role_variables(box, root=root, data_dir=data_dir, facts=facts, record=record)
        # The controller's own Python where it is there (it may be all that a box has), else what Ansible finds.
        variables["ansible_interpreter_python_fallback"] = [f"{root}/controller/bin/python", *_PYTHONS]
        # Ansible would expand `~` by the password database, which is wrong where HOME is another.
        variables["ansible_remote_tmp"] = f"{data_dir}/.ansible/tmp"
        return variables, groups


def _box_file(record: BoxRecord, boxes_dir: Path) -> Path | None:
    for path in (boxes_dir / f"{record.name}.yml", boxes_dir / f"{record.name}.yaml", record.box_file):
        if path is not None and path.exists():
            return path
    return None


def _sentence(error: GpuboxError) -> str:
    where = f" ({error.where})" if error.where else ""
    hint = f"; {error.hint}" if error.hint else ""
    return f"{error.message}{where}{hint}"
