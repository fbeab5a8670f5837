"""The role by Ansible: what it plans, which jobs it starts, what it says; and the forecast of `gpubox` itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gpubox import models
from gpubox.boxfile import BoxFile
from gpubox.errors import Unreachable, UsageError
from sim.hub import HubServer, hub, repo
from unit.ansible.conftest import Ansible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {"config.json": b"{}", "m-Q4_K_M.gguf": b"4444", "m-Q8_0.gguf": b"88888888"}


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub({"o/m": FILES, "o/private": repo(FILES, token="s3cret")}) as running:
        yield running


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    runner = Ansible(tmp_path)
    runner.install_boxctl()
    bins = runner.root / "controller/bin"
    bins.mkdir(parents=True)
    (bins / "python").symlink_to(sys.executable)
    return runner


def role(entry: str, server: HubServer, *downloads: dict[str, Any], **variables: object) -> dict[str, Any]:
    wanted = [{"name": "m", "source": "modelscope", "id": "o/m", **download} for download in downloads or ({},)]
    endpoints = {"model_modelscope_endpoint": server.url, "model_huggingface_endpoint": server.url}
    return {
        "ansible.builtin.include_role": {"name": "model", "tasks_from": entry},
        "vars": {"model_downloads": wanted, **endpoints, **variables},
    }


def play(ansible: Ansible, *tasks: dict[str, Any], options: tuple[str, ...] = (), good: bool = True) -> str:
    named = [{"name": f"Step {number}", **task} for number, task in enumerate(tasks)]
    done = ansible.play(named, *options, variables={"gpubox_root": str(ansible.root), "gpubox_model_job": "model-m"})
    assert (done.returncode == 0) == good, done.stdout + done.stderr
    return done.stdout


def spec(ansible: Ansible, name: str = "model-m") -> dict[str, Any]:
    state = json.loads((ansible.root / "fake.json").read_text())
    found: dict[str, Any] = state["jobs"][name]["spec"]
    return found


def test_starts_one_job_for_each_and_hands_the_revision_on(ansible: Ansible, server: HubServer) -> None:
    told = {"ansible.builtin.debug": {"msg": "serves {{ gpubox_model_revision }}"}}
    downloads = ({"quant": "Q4_K_M"}, {"name": "c", "weights": False})
    again = {"ansible.builtin.debug": {"msg": "once more"}}
    out = play(ansible, role("start", server, *downloads), told, again, role("start", server, *downloads))
    assert f"serves {server.repos['o/m'].commits[-1].id}" in out
    job = spec(ansible)
    assert job["argv"][1:] == ["-s", "-m", "model_fetch", "fetch"]
    asked = json.loads(job["env"]["GPUBOX_MODEL_SPEC"])
    assert (asked["quant"], asked["models"], asked["connections"]) == ("Q4_K_M", f"{ansible.root}/models", 16)
    assert json.loads(spec(ansible, "model-c")["env"]["GPUBOX_MODEL_SPEC"])["weights"] is False
    # Nothing was fetched yet, and a second converge starts nothing.
    assert "changed: [" in out.partition("once more")[0]
    assert "changed: [" not in out.partition("once more")[2]


def test_another_quantization_of_a_commit_is_another_model(ansible: Ansible, server: HubServer) -> None:
    """The engine restarts, or is given it, when this word changes."""
    told = {"ansible.builtin.debug": {"msg": "serves {{ gpubox_model_revision }}."}}
    quants = (role("start", server, {"quant": quant}) for quant in ("Q4_K_M", "Q8_0", "Q4_K_M"))
    out = play(ansible, *(step for quant in quants for step in (quant, told)))
    first, second, third = re.findall(r"serves (\S+)\.", out)
    assert first == third
    assert first != second
    assert first.partition("-")[0] == second.partition("-")[0] == server.repos["o/m"].commits[-1].id


def test_a_fresh_box_in_check_mode_has_no_program_yet(tmp_path: Path, server: HubServer) -> None:
    out = play(Ansible(tmp_path), role("start", server), options=("--check",))
    assert "failed=0" in out
    assert not (tmp_path / "root/lib").exists()


def test_what_is_wrong_is_said_before_a_job_begins(ansible: Ansible, server: HubServer) -> None:
    out = play(ansible, role("start", server, {"quant": "Q5_K_M"}), good=False)
    assert "there is no quantization `Q5_K_M`; it offers Q4_K_M (4 bytes), Q8_0 (8 bytes)" in out
    assert not any(call[:2] == ["job", "start"] for call in ansible.calls())


def test_tokens_reach_the_job_and_nothing_else(ansible: Ansible, server: HubServer) -> None:
    out = play(
        ansible,
        role("start", server, {"id": "o/private"}, model_modelscope_token="s3cret"),
        options=("-vvv", "--diff"),
    )
    assert spec(ansible)["env"]["MODELSCOPE_API_TOKEN"] == "s3cret"
    assert "s3cret" not in spec(ansible)["env"]["GPUBOX_MODEL_SPEC"]
    # The play's own file holds it, which is this test's; what Ansible says of it does not.
    assert "s3cret" not in out


def test_a_wrong_token_is_not_hidden_with_the_token(ansible: Ansible, server: HubServer) -> None:
    out = play(ansible, role("start", server, {"id": "o/private"}, model_modelscope_token="b4d"), good=False)
    assert "has no model `o/private`" in out
    assert "b4d" not in out


def test_verify_and_remove(ansible: Ansible, server: HubServer) -> None:
    out = play(ansible, role("start", server), role("verify", server), good=False)
    assert f"`{ansible.root}/models/m` holds no finished model" in out
    job = spec(ansible)
    done = subprocess.run(job["argv"], env={**job["env"], "PATH": "/usr/bin:/bin"}, check=False, timeout=60)
    assert done.returncode == 0
    ansible.state("jobs", "model-m", state="done")
    assert "changed=0" in play(ansible, role("start", server), role("wait", server), role("verify", server))
    # A file that was lost has the job run again.
    (ansible.root / "models/m/config.json").unlink()
    assert "changed=3" in play(ansible, role("start", server), role("remove", server))
    assert not list((ansible.root / "models").iterdir())
    assert not (ansible.root / "lib/model_fetch").exists()


def box(**model: object) -> BoxFile:
    given = {"source": "modelscope", "id": "o/m", **model}
    return BoxFile.model_validate({"provider": "attach", "engine": "vllm", "model": given})


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_forecast_is_of_files_and_bytes(server: HubServer, source: str) -> None:
    (found,) = models.forecast(box(source=source, quant="Q8_0"), server.environment | {"PATH": "/usr/bin:/bin"})
    assert found == models.Forecast("m", source, 2, 10, server.repos["o/m"].commits[-1].id)


def test_a_box_without_a_model_of_a_hub_asks_nobody() -> None:
    assert models.forecast(BoxFile.model_validate({"provider": "attach", "engine": "vllm", "model": "small-gpt"})) == ()


def test_what_a_forecast_finds_wrong_is_an_error_of_the_box_file(server: HubServer) -> None:
    with pytest.raises(UsageError) as caught:
        models.forecast(box(quant="Q5"), server.environment | {"PATH": "/usr/bin:/bin"})
    assert caught.value.message == "there is no quantization `Q5`"
    assert caught.value.hint == "it offers Q4_K_M (4 bytes), Q8_0 (8 bytes)"
    assert caught.value.where == "`model` of the box file"
    with pytest.raises(Unreachable, match="cannot be asked for its files"):
        models.forecast(box(), {"PATH": "/usr/bin:/bin", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1"})
