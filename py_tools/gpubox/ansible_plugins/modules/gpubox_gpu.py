#!/usr/bin/python
"""Ansible module: see that programs on the box can use its GPUs, before a step that cannot do without."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpubox_driver import NoGpuError, look

DOCUMENTATION = r"""
module: gpubox_gpu
short_description: See that programs on the box can use its GPUs
description:
  - What C(nvidia-smi) prints is not what a program gets; a container may show one without the other. This asks the
    CUDA driver's own library, as every engine will.
  - Fails with a sentence that names the step that needs the GPU, so that no engine is started only to crash.
  - In check mode it says what it saw and never fails.
options:
  step: {description: "What needs the GPU, as people read it: V(serve the model with vLLM).", type: str, required: true}
  count: {description: How many GPUs it needs., type: int, default: 1}
author: gpubox developers
attributes:
  check_mode: {support: full, description: Says what it saw.}
  diff_mode: {support: none, description: Nothing is changed.}
"""

EXAMPLES = r"""
- name: See that there is a GPU to serve on
  gpubox_gpu:
    step: serve the model with vLLM
    count: 2
"""

RETURN = r"""
gpus:
  description: Names of the GPUs that a program can use.
  returned: always
  type: list
  elements: str
cuda:
  description: Newest CUDA that the driver knows, such as V(12.4); null when the driver does not answer.
  returned: always
  type: str
"""

ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "required": True},
    "count": {"type": "int", "default": 1},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    step, count = module.params["step"], module.params["count"]
    trouble = None
    names: list[str] = []
    cuda = None
    try:
        names, cuda = look()
    except NoGpuError as error:
        trouble = str(error)
    if trouble is None and len(names) < count:
        trouble = f"{count} are needed, and programs can use {len(names)}: {', '.join(names) or 'none'}"
    if trouble is not None and not module.check_mode:
        module.fail_json(
            msg=f"refused: to {step} needs a GPU, and programs on this box cannot use one: {trouble}",
            gpus=names,
            cuda=cuda,
        )
    module.exit_json(changed=False, gpus=names, cuda=cuda, msg=trouble or "")


if __name__ == "__main__":
    main()
