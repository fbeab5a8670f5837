"""Role `preflight` and its action plugin, run by ansible-playbook on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpubox import paths

WITHOUT_PIPELINING = """
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = \"\"\"
name: plain
short_description: local, without pipelining
description: As connections that have no standard input for commands.
options: {}
\"\"\"

class Connection(Local):
    transport = "plain"
    has_pipelining = False
"""
PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": {"name": "preflight"}},
            {"ansible.builtin.debug": {"msg": "SEEN {{ preflight_result | to_json }}"}},
            {"ansible.builtin.include_role": {"name": "preflight", "tasks_from": "verify"}},
            {"ansible.builtin.include_role": {"name": "preflight", "tasks_from": "remove"}},
        ],
    }
]


@pytest.fixture
def play(tmp_path: Path) -> Path:
    """A playbook that runs the role, its verification and its removal."""
    path = tmp_path / "play.yml"
    path.write_text(json.dumps(PLAYBOOK), encoding="utf-8")
    plugins = tmp_path / "connections"
    plugins.mkdir()
    (plugins / "plain.py").write_text(WITHOUT_PIPELINING, encoding="utf-8")
    return path


def run(play: Path, *options: str, box: dict[str, Any] | None = None, connection: str = "local") -> tuple[int, str]:
    """Exit code and output of ansible-playbook."""
    base = play.parent
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg"),
        "ANSIBLE_CONNECTION_PLUGINS": str(base / "connections"),
        "ANSIBLE_REMOTE_TMP": str(base / "remote"),
        "ANSIBLE_LOCAL_TEMP": str(base / "local"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "LC_ALL": "C.UTF-8",
    }
    variables = json.dumps({"gpubox_data_dir": str(base), **({"gpubox_box": box} if box else {})})
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "-i", "localhost,", "-c", connection, "-e", variables, *options, str(play)],
        env=env,
        cwd=base,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("connection", "options"), [("local", ("--check",)), ("plain", ())])
def test_without_a_box_file(play: Path, connection: str, options: tuple[str, ...]) -> None:
    code, output = run(play, *options, connection=connection)
    assert code == 0, output
    assert "changed=0" in output
    line = next(line for line in output.splitlines() if "SEEN" in line)
    seen = json.loads(json.loads("{" + line.strip().rstrip(",") + "}")["msg"].removeprefix("SEEN "))
    assert seen["root"] == f"{play.parent}/gpubox"
    assert seen["facts"]["memory"] > 0
    assert {"data-dir", "memory", "python"} <= {item["check"] for item in seen["findings"]}
    assert not list((play.parent / "remote").glob("*"))


def test_every_blocker_with_its_fix(play: Path) -> None:
    box = {
        "provider": "attach",
        "gpu": {"name": "RTX 4090", "count": 16},
        "engine": "ktransformers",
        "model": {"source": "modelscope", "id": "deepseek-ai/DeepSeek-R1", "quant": "Q4_K_M"},
        "ktransformers": {"cpu_infer": 4096},
    }
    code, output = run(play, box=box)
    assert code == 2, output
    assert "the box file asks for 16 x RTX 4090" in output
    assert "`ktransformers.cpu_infer: 4096`, but the box may use" in output
    assert "fix: `ktransformers.cpu_infer: " in output


def test_a_bad_box_file(play: Path) -> None:
    code, output = run(play, box={"provider": "attach", "engin": "vllm"})
    assert code == 2
    assert "`box` is no box file" in output
    assert "engin: Extra inputs are not permitted" in output
    assert "errors.pydantic.dev" not in output
