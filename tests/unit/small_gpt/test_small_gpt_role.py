"""The role `small_gpt`, run by Ansible on this machine with a `boxctl` that only writes down what it is told."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unit.ansible.conftest import Ansible

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

ROLE: dict[str, Any] = {"name": "Role", "ansible.builtin.import_role": {"name": "small_gpt"}}


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    runner = Ansible(tmp_path)
    runner.install_boxctl()
    return runner


def run(ansible: Ansible, *options: str, part: str = "main", **variables: object) -> subprocess.CompletedProcess[str]:
    task = {**ROLE, "ansible.builtin.import_role": {"name": "small_gpt", "tasks_from": part}}
    return ansible.play([task], *options, variables={"gpubox_root": str(ansible.root), **variables})


def changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"changed=(\d+)", done.stdout)
    assert found
    return int(found[1])


def bare_python(ansible: Ansible) -> None:
    place = ansible.root / "controller/bin"
    place.mkdir(parents=True)
    # Not a link: Python would look for its home beside it.
    (place / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (place / "python").chmod(0o755)


def specs(ansible: Ansible) -> dict[str, dict[str, Any]]:
    calls = zip(ansible.calls(), ansible.stdins(), strict=True)
    return {argv[2]: json.loads(stdin) for argv, stdin in calls if argv[:2] == ["job", "start"]}


def test_from_nothing_to_a_model_that_is_kept(ansible: Ansible, make_model: Callable[[Path, str], Path]) -> None:
    assert changed(run(ansible, "--check")) > 0
    assert not (ansible.root / "lib").exists()

    bare_python(ansible)
    assert changed(run(ansible, small_gpt_threads=1)) > 0
    env, train = specs(ansible)["env-small-gpt"], specs(ansible)["train-small-gpt"]
    wanted = json.loads(env["env"]["GPUBOX_PYTHON_ENV"])
    assert wanted["requirements"][:2] == ["torch==2.13.0+cpu", "transformers==5.19.0"]
    assert wanted["fallback_index_urls"] == ["https://download.pytorch.org/whl/cpu"]
    model = ansible.root / "models/small-gpt"
    words = f"{ansible.root}/envs/small-gpt/bin/python -m small_gpt --out {model} --epochs 18 --seed 42 --threads 1"
    assert " ".join(train["argv"]).startswith(words)
    assert "--require=torch==2.13.0" in train["argv"]
    assert train["precious"] == [str(model)]
    assert (Path(train["env"]["PYTHONPATH"]) / "small_gpt/questions.yml").exists()

    make_model(model, train["key"])
    assert changed(run(ansible)) == 0
    assert changed(run(ansible, "--check")) == 0
    assert changed(run(ansible, part="verify")) == 0

    (model / "model.safetensors").write_bytes(b"rot")
    ill = run(ansible, part="verify")
    assert ill.returncode != 0
    assert "holds no finished model" in ill.stdout + ill.stderr
    assert changed(run(ansible)) > 0, "a broken model is made anew although its job is done"

    assert changed(run(ansible, "--check", part="remove")) > 0
    assert model.exists()
    assert changed(run(ansible, part="remove")) > 0
    assert not model.exists()
    assert not (ansible.root / "lib/small_gpt").exists()
    assert changed(run(ansible, part="remove")) == 0


def test_a_cached_model_needs_no_torch(ansible: Ansible, make_model: Callable[[Path, str], Path]) -> None:
    bare_python(ansible)
    cache = ansible.place / "cache"
    run(ansible, small_gpt_wait=False)
    key = specs(ansible)["train-small-gpt"]["key"]
    make_model(cache / f"small-gpt-{key[:32]}", key)
    (ansible.root / "calls.jsonl").unlink()
    (ansible.root / "fake.json").unlink()

    assert changed(run(ansible, small_gpt_cache_dir=str(cache))) > 0
    assert set(specs(ansible)) == {"train-small-gpt"}
    argv = specs(ansible)["train-small-gpt"]["argv"]
    assert argv[0] == f"{ansible.root}/controller/bin/python"
    assert argv[argv.index("--cache") + 1] == str(cache)
