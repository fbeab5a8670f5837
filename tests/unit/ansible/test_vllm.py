"""What the role `vllm` starts, for every case in fixtures/vllm: one play, one host per case, no vLLM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from unit.ansible.conftest import HERE, Ansible, Hosts, stage

if TYPE_CHECKING:
    from pathlib import Path

CASES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((HERE / "fixtures/vllm").glob("*.yml"))}

Specs = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """By case, what `boxctl` was told of the job `env-vllm` and of the service `vllm`."""
    hosts = Hosts(tmp_path_factory.mktemp("vllm"), {name: case["variables"] for name, case in CASES.items()})
    hosts.serve("vllm", ("environment", "serve"))
    return hosts.told()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_command_line_and_environment(case: str, specs: Specs) -> None:
    wanted, service = CASES[case], specs[case]["vllm"]
    root = service["cwd"]
    assert service["argv"] == wanted["argv"].replace("{root}", root).split()
    expected = {name: value.replace("{root}", root) for name, value in wanted["env"].items()}
    assert {name: service["env"].get(name) for name in expected} == expected
    assert not set(wanted["absent_env"]) & set(service["env"])
    assert "sk-hunter2" not in " ".join(service["argv"])
    port = int(service["argv"][service["argv"].index("--port") + 1])
    assert (service["port"], service["health_url"]) == (port, f"http://127.0.0.1:{port}/health")


def test_environment(case: str, specs: Specs) -> None:
    wanted, job = CASES[case], specs[case]["env-vllm"]
    request = json.loads(job["env"]["GPUBOX_PYTHON_ENV"])
    for field in ("requirements", "excludes", "fallback_index_urls"):
        assert request[field] == wanted[field]
    assert request["key"] == job["key"]
    assert request["no_index"] is False


def test_the_service_changes_with_its_environment(specs: Specs) -> None:
    """Another version lies at the same path; only this makes the service restart for it."""
    revisions = {name: spec["vllm"]["env"]["GPUBOX_ENV_REVISION"] for name, spec in specs.items()}
    assert revisions["cpu-small-gpt"] == revisions["cpu-defaults"]
    assert len(set(revisions.values())) == 4


def test_keys_differ_only_where_the_environments_do(specs: Specs) -> None:
    keys = {name: spec["env-vllm"]["key"] for name, spec in specs.items()}
    assert keys["cpu-small-gpt"] == keys["cpu-defaults"]
    assert len(set(keys.values())) == 4


def test_nothing_to_serve_is_said(tmp_path: Path) -> None:
    box = Ansible(tmp_path)
    box.install_boxctl()
    role = stage("vllm", "serve")
    done = box.play([role], "-e", f"gpubox_root={box.root}")
    assert done.returncode == 2
    assert "`vllm_model_path` is empty: set `model` in the box file" in done.stdout + done.stderr
