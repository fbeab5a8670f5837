"""What the role `open_webui` starts, for every case in fixtures/open_webui: one play, one host per case, no web UI."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from unit.ansible.conftest import CHECKOUT, HERE, Ansible, Hosts, stage

if TYPE_CHECKING:
    from pathlib import Path

CASES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((HERE / "fixtures/open_webui").glob("*.yml"))}
VERSIONS = yaml.safe_load((CHECKOUT / "roles/open_webui/vars/versions.yml").read_text())

Specs = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """By case, what `boxctl` was told of the job `env-open-webui` and of the service `open-webui`."""
    hosts = Hosts(tmp_path_factory.mktemp("open_webui"), {name: case["variables"] for name, case in CASES.items()})
    assert "there is no `/nowhere` on this box" in hosts.serve("open_webui", ("environment", "serve"))
    return hosts.told()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_command_line_and_environment(case: str, specs: Specs) -> None:
    wanted, service = CASES[case], specs[case]["open-webui"]
    root = service["cwd"].removesuffix("/open-webui")
    assert service["argv"] == wanted["argv"].replace("{root}", root).split()
    expected = {name: value.replace("{root}", root) for name, value in wanted["env"].items()}
    assert {name: service["env"].get(name) for name in expected} == expected
    assert not set(wanted["absent_env"]) & set(service["env"])
    assert "sk-hunter2" not in " ".join(service["argv"])
    assert service["health_url"] == f"http://127.0.0.1:{wanted['port']}/health"
    assert service["precious"] == [
        f"{root}/open-webui/{name}"
        for name in ("data/webui.db", "data/uploads", "secret-key", "admin-password", "version.json")
    ]


def test_another_secret_key_restarts_the_service_and_is_not_told_in_clear(specs: Specs) -> None:
    service = specs["several-engines"]["open-webui"]
    assert len(service["env"]["GPUBOX_SECRET_KEY_REVISION"]) == 16
    assert "sk-hunter2-secret" not in json.dumps(service)
    assert "sk-hunter2-password" not in json.dumps(service)


def test_snapshots_are_a_service_of_their_own_where_they_are_wanted(specs: Specs) -> None:
    service = specs["several-engines"]["open-webui-snapshots"]
    root = service["cwd"].removesuffix("/open-webui")
    words = (
        f"{root}/controller/bin/python -s -P -m webui_box snapshots {root} --to /nowhere/web-ui --name mybox --every 60"
    )
    assert service["argv"] == words.split()
    assert not [name for name in specs if name != "several-engines" and "open-webui-snapshots" in specs[name]]


def test_environment(specs: Specs) -> None:
    job = specs["defaults"]["env-open-webui"]
    request = json.loads(job["env"]["GPUBOX_PYTHON_ENV"])
    assert request["requirements"] == [f"open-webui=={VERSIONS['open_webui_version']}", *VERSIONS["open_webui_pins"]]
    assert request["excludes"] == VERSIONS["open_webui_excludes"]
    assert request["imports"][0] == "open_webui.main"
    assert not request["imports_env"]["DATA_DIR"].endswith("open-webui/data")
    supported = sys.version_info[:2] in {(3, 11), (3, 12)}
    assert request["python"] == ("" if supported else "3.12")
    names = {pin.partition("==")[0] for pin in VERSIONS["open_webui_pins"]}
    assert not names & set(VERSIONS["open_webui_excludes"])


@pytest.mark.parametrize(
    "engines",
    [
        '[{"url": "ftp://x/v1"}]',
        '[{"url": "http://a/v1;http://b/v1"}]',
        '[{"url": "http://a", "api_key": "hunter2;b"}]',
        '[{"url": "http://a", "api_key": "hunter2 b"}]',
    ],
)
def test_engines_that_cannot_be_are_said(tmp_path: Path, engines: str) -> None:
    box = Ansible(tmp_path)
    box.install_boxctl()
    role = stage("open_webui", "serve")
    variables = json.dumps({"gpubox_root": str(box.root), "open_webui_engines": json.loads(engines)})
    done = box.play([role], "-e", variables)
    assert done.returncode == 2
    assert "`open_webui_engines` has to name each engine" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
