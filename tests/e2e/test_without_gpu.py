"""Starter files for a 4090, as they stand, on boxes whose driver and cards are recorded: what needs no GPU is done, the
rest refused by name.

Stand-ins: wheels (the real ones are gigabytes of CUDA), Ollama's program, the sources of KTransformers, a tiny GGUF in
the place of 377 GiB; the hub is simulated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml

from box import recorded, standin_packages
from box.testbox.options import Bind
from e2e.conftest import adopt
from e2e.test_ktransformers import EXTENSIONS, SETUP, repository
from e2e.test_plain_ansible import ansible, counts
from free_ports import free_run
from gpubox import paths
from gpubox.boxfile import starter_text
from sim import ollama
from sim.hub import hub, repo
from sim.tiny_model import tiny_model
from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

LINKS, HUB, ROOT = "/opt/standins", "/opt/hub", "/root/autodl-tmp/gpubox"
PREPARE = ("-i", "inventories/gpubox.yml", "playbooks/prepare.yml", "--limit", "mybox")


class Packages(NamedTuple):
    """Stand-ins at `links` of this machine, and the wishes of a box that takes its packages there."""

    links: Path
    wishes: Wishes

    def box(self, boxes: BoxFactory, *, data_size: int, binds: tuple[Bind, ...] = ()) -> TestBox:
        """With this machine's network, where the hub is."""
        pip = self.wishes["files"]["/etc/pip.conf"].rstrip() + f" {LINKS}\n"
        wishes = self.wishes | {
            "network": "host",
            "data_size": data_size,
            "binds": (*self.wishes["binds"], Bind(str(self.links), LINKS), *binds),
            "files": {"/etc/pip.conf": pip},
        }
        return boxes(**wishes)


def packages(place: Path, wishes: Wishes, requirements: list[str]) -> Packages:
    """Empty wheels of these, but where the box has the real one of that version."""
    place.mkdir()
    have = {tuple(path.name.lower().split("-")[:2]) for path in Path(wishes["binds"][0].source).glob("*.whl")}
    for line in requirements:
        name, _, version = line.replace("-", "_").partition("==")
        if (name, version) not in have:
            standin_packages.wheel(place, name, version, {f"{name}/__init__.py": ""})
    return Packages(place, wishes)


def starter(template: str) -> str:
    """The file as it stands, but for its web UI, which has stories of its own, and the engine's port: these boxes have
    this machine's network, and others may use the same port."""
    text = re.sub(r"^web_ui: true.*\n", "", starter_text("mybox", template), flags=re.MULTILINE)
    return re.sub(r"^  port: \d+", f"  port: {free_run(1)}", text, count=1, flags=re.MULTILINE)


def jobs(gpubox: Gpubox) -> dict[str, str]:
    return {job["name"]: job["state"] for job in gpubox.json("status", "mybox")["jobs"]}


def ended(gpubox: Gpubox, *names: str) -> None:
    """What had been started goes on after the refusal, and comes to its end."""
    until(lambda: "running" not in jobs(gpubox).values(), seconds=300)
    states = jobs(gpubox)
    failed = [name for name in names if states.get(name) != "done"]
    assert not failed, [gpubox("logs", "mybox", name).stdout[-2000:] for name in failed]
    assert states["converge"] == "failed"
    assert gpubox.json("status", "mybox")["services"] == []


@pytest.mark.timeout(900)
def test_vllm(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> None:
    standins = packages(tmp_path / "standins", offline("controller"), ["vllm==0.19.1", "transformers==4.57.6"])
    box = adopt(gpubox, standins.box(boxes, data_size=64 << 30))
    recorded.card(box)
    gpubox.box_file("mybox", starter("4090-vllm"))
    with hub({"Qwen/Qwen3-8B-AWQ": repo(tiny_model(tmp_path / "model"))}) as server:
        gpubox.env.update(server.environment)
        refused = gpubox("up", "mybox", code=1).stderr
        assert "refused: to serve the model with vLLM needs a GPU" in refused
        assert "libcuda.so.1" in refused
        ended(gpubox, "env-vllm", "model-Qwen3-8B-AWQ")
        assert box.exec(f"test -s {ROOT}/models/Qwen3-8B-AWQ/.gpubox-model.json").exit_code == 0

        # The playbook for a box that was started without its GPU does the same, and is content with it.
        prepared = counts(ansible(gpubox, *PREPARE), "mybox")
        assert (prepared["failed"], prepared["changed"]) == (0, 0)


@pytest.mark.timeout(900)
def test_ollama(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes]) -> None:
    """No step of it needs a GPU by itself: it comes to its end."""
    box = adopt(gpubox, boxes(**offline("controller", "open_webui", "zstandard==0.25.0") | {"data_size": 64 << 30}))
    recorded.card(box)
    pinned = yaml.safe_load((paths.content() / "roles/ollama/vars/versions.yml").read_text())
    version = pinned["ollama_versions"]["ollama"]
    program = (Path(ollama.__file__).parent / "program.py").read_text()
    # The file asks for GitHub's release, which is not to be reached: it is there already, as after an earlier `up`.
    box.write("/root/sim/ollama.py", program)
    box.write("/root/sim/plan.json", json.dumps({"models": {"deepseek-r1:8b": [4_000_000, 500]}}))
    start = '#!/bin/sh\nOLLAMA_SIM=/root/sim/plan.json exec /usr/bin/python3 /root/sim/ollama.py "$@"\n'
    box.write(f"{ROOT}/ollama/{version}/bin/ollama", start, mode=0o755)
    gpubox.box_file("mybox", starter_text("mybox", "4090-ollama"))

    gpubox("up", "mybox")
    answer = gpubox.json("chat", "mybox", "hello")
    assert (answer["model"], answer["usage"]["total_tokens"]) == ("deepseek-r1:8b", 5)
    assert jobs(gpubox) | {"converge": "done"} == jobs(gpubox)
    assert gpubox.json("up", "mybox")["changed"] is False


@pytest.mark.timeout(1500)
def test_ktransformers_r1(gpubox: Gpubox, boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path) -> None:
    standins = _of_ktransformers(tmp_path, offline)
    commit = _sources(tmp_path / "hub")
    # Room for 420 GB on paper: a tmpfs takes no more than what is written.
    made = standins.box(boxes, data_size=600 << 30, binds=(Bind(str(tmp_path / "hub"), HUB),))
    recorded.card(made, count=4, cuda="12.4")
    recorded.host(made, memory_gib=480, cores=32)
    box = adopt(gpubox, made)
    _with_compilers(box)
    _with_git(box, commit)
    wheel = "flash_attn-2.7.4.post1+cu12torch2.6cxx11abiFALSE-cp311-cp311-linux_x86_64.whl"
    # GitHub is not to be reached: fetched already, as after an `up` that was cut off.
    box.exec(f"mkdir -p {ROOT}/cache/wheels && cp {LINKS}/flash_attn-2.7.4.post1-*.whl '{ROOT}/cache/wheels/{wheel}'")
    gpubox.box_file("mybox", starter("4090-ktransformers-r1"))
    config = {"config.json": b'{"model_type": "deepseek_v3"}', "tokenizer.json": b"{}", "model-1.safetensors": b"no"}
    with hub({"unsloth/DeepSeek-R1-GGUF": repo(_gguf()), "deepseek-ai/DeepSeek-R1": repo(config)}) as server:
        gpubox.env.update(server.environment)
        refused = gpubox("up", "mybox", code=1).stderr
        assert "refused: to serve the model with KTransformers needs a GPU" in refused, refused
        wanted = ("source-ktransformers", "env-ktransformers", "cuda-12.4", "flash-attn-ktransformers")
        ended(gpubox, *wanted, "build-ktransformers", "model-DeepSeek-R1-GGUF", "model-DeepSeek-R1")

        stamp = json.loads(box.read(f"{ROOT}/envs/ktransformers/gpubox-ktransformers.json"))
        assert (stamp["tag"], stamp["torch"], stamp["numa"]) == ("v0.3.2", "2.6.0+cu124", False)
        models = box.exec(f"cd {ROOT}/models && find -name '.?*' -prune -o -type f -print | sort").stdout.split()
        parts = [f"./DeepSeek-R1-GGUF/DeepSeek-R1-Q4_K_M/DeepSeek-R1-Q4_K_M-0000{n}-of-00002.gguf" for n in (1, 2)]
        assert models == [*parts, "./DeepSeek-R1/config.json", "./DeepSeek-R1/tokenizer.json"]
        # As the service would be started: what was built fits, and the weights are one whole model.
        program = box.exec(f"ls -d {ROOT}/lib/ktransformers/*").stdout.strip()
        check = f"verify --env {ROOT}/envs/ktransformers --built --weights {ROOT}/models/DeepSeek-R1-GGUF"
        done = box.exec(f"PYTHONPATH={program} {ROOT}/controller/bin/python -m kt_tools {check}")
        assert done.exit_code == 0, done.stderr

        prepared = counts(ansible(gpubox, *PREPARE), "mybox")
        assert (prepared["failed"], prepared["changed"]) == (0, 0)


def _of_ktransformers(tmp_path: Path, offline: Callable[..., Wishes]) -> Packages:
    listed = (paths.content() / "roles/ktransformers/files/requirements/v0.3.2.txt").read_text().splitlines()
    tools = [line for line in listed if line.startswith(("setuptools==", "wheel==", "packaging=="))]
    standins = packages(tmp_path / "standins", offline("controller", *tools), [*listed, "einops==0.8.1"])
    torch = {
        "torch/__init__.py": "",
        "torch/version.py": "__version__ = '2.6.0+cu124'\ncuda = '12.4'\n",
        "torch/share/cmake/Torch/TorchConfig.cmake": "set(TORCH_CXX_FLAGS -D_GLIBCXX_USE_CXX11_ABI=0)\n",
    }
    standin_packages.wheel(standins.links, "torch", "2.6.0", torch)
    flash = {"flash_attn/__init__.py": "", "flash_attn_2_cuda.py": ""}
    standin_packages.wheel(standins.links, "flash_attn", "2.7.4.post1", flash)
    return standins


def _sources(place: Path) -> str:
    """Repositories in the place of GitHub's; the commit of the tag."""
    flash = 'from setuptools import setup\nsetup(name="flashinfer", version="0.2.3", py_modules=["flashinfer"])\n'
    repository(place / "kvcache-ai/custom_flashinfer.git", {"setup.py": flash, "flashinfer.py": ""})
    url = "https://github.com/kvcache-ai/custom_flashinfer.git"
    modules = f'[submodule "f"]\n\tpath = third_party/custom_flashinfer\n\turl = {url}\n'
    files = {"setup.py": SETUP, "ktransformers/__init__.py": "", **{f"{name}.py": "" for name in EXTENSIONS}}
    return repository(place / "kvcache-ai/ktransformers.git", {**files, ".gitmodules": modules})


def _with_compilers(box: TestBox) -> None:
    for name in ("gcc", "g++", "cmake", "make"):
        box.write(f"/usr/local/bin/{name}", f"#!/bin/sh\necho {name} 12.2.0\n", mode=0o755)


def _with_git(box: TestBox, commit: str) -> None:
    """git that finds GitHub in a directory, and calls the stand-in's commit by the pinned one's name."""
    versions = yaml.safe_load((paths.content() / "roles/ktransformers/vars/versions.yml").read_text())
    pinned = versions["ktransformers_tags"]["0.3.2"]["commit"]
    box.exec(
        "git config --system --add safe.directory '*'; git config --system protocol.file.allow always; "
        f"git config --system url.{HUB}/.insteadOf https://github.com/"
    )
    box.write(
        "/usr/local/bin/git",
        f"""#!/bin/bash
words=("${{@//{pinned}/{commit}}}")
case "$*" in
  *rev-parse*) /usr/bin/git "${{words[@]}}" | sed s/{commit}/{pinned}/ ;;
  *) exec /usr/bin/git "${{words[@]}}" ;;
esac
""",
        mode=0o755,
    )


def _gguf() -> dict[str, bytes]:
    """As the repository has it: several quantizations side by side, each in a directory of its own."""
    quants = ("DeepSeek-R1-Q4_K_M", "DeepSeek-R1-Q8_0", "DeepSeek-R1-UD-Q2_K_XL")
    parts = {f"{name}/{name}-0000{n}-of-00002.gguf": f"GGUF {name} {n}".encode() for name in quants for n in (1, 2)}
    return {**parts, "README.md": b"# R1"}
