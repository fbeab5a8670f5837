"""KTransformers on real boxes without a GPU: sources behind a mirror, a build, its checks, what is refused, and the
wheel that goes home and to the next box.

Stand-ins: torch, nvcc and the sources (real git repositories with submodules and a `setup.py`, nothing to compile).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from box import standin_packages
from box.testbox.options import Bind
from e2e.conftest import adopt
from e2e.test_plain_ansible import ansible, counts
from gpubox import paths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from box.testbox.options import Wishes
    from e2e.cli import Gpubox

ROOT, HUB, LINKS = "/root/autodl-tmp/gpubox", "/opt/hub", "/opt/standins"
# Answers with the 18th line of what it is asked.
ENGINE = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
class Handler(BaseHTTPRequestHandler):
    def do_GET(self, answer={}):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lines = body["messages"][-1]["content"].splitlines()
        said = "!!!!" if Path("/root/dumb").exists() else lines[17]
        self.do_GET({"choices": [{"message": {"content": said}}]})
HTTPServer(("127.0.0.1", 10002), Handler).serve_forever()
"""
TOOLS = ["setuptools==80.9.0", "wheel==0.45.1"]
EXTENSIONS = ["cpuinfer_ext", "KTransformersOps", "vLLMMarlin"]
SETUP = f"""\
import os, torch
from setuptools import setup
assert "USE_NUMA" not in os.environ and os.environ["KTRANSFORMERS_FORCE_BUILD"] == "TRUE"
assert int(os.environ["MAX_JOBS"]) >= 1 and os.environ["TORCH_CUDA_ARCH_LIST"] == "8.9"
print("[ 50%] Building CXX object", flush=True)
setup(name="ktransformers", version="0.3.1+cu130torch28fancy", packages=["ktransformers"], py_modules={EXTENSIONS})
"""


def repository(path: Path, files: dict[str, str]) -> str:
    """A repository with these files; its commit."""
    identity = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words: str) -> str:
        argv = ["git", "-c", "protocol.file.allow=always", "-C", str(path), *words]
        done = subprocess.run(argv, env={**os.environ, **identity}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    if not path.exists():
        path.mkdir(parents=True)
        git("init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    for name in [name for name in files if name == ".gitmodules"]:
        at = repository(path.parent.parent / "kvcache-ai/custom_flashinfer.git", {})
        git("update-index", "--add", "--cacheinfo", f"160000,{at},third_party/custom_flashinfer")
        git("add", name)
    git("add", "-A", "--", ".", ":!third_party")
    if files:
        git("commit", "--quiet", "-m", "x")
    git("tag", "--force", "v0.3.2")
    return git("rev-parse", "HEAD")


@pytest.fixture
def make_box(
    boxes: BoxFactory, offline: Callable[..., Wishes], tmp_path: Path, gpubox: Gpubox
) -> Callable[[str], TestBox]:
    """Boxes that are up; the mirror of GitHub and the packages are directories on them."""
    hub = tmp_path / "hub"
    flash = 'from setuptools import setup\nsetup(name="flashinfer", version="0.2.3", py_modules=["flashinfer"])\n'
    repository(hub / "kvcache-ai/custom_flashinfer.git", {"setup.py": flash, "flashinfer.py": ""})
    modules = '[submodule "f"]\n\tpath = third_party/custom_flashinfer\n\turl = https://github.com/kvcache-ai/custom_flashinfer.git\n'
    sources = {"setup.py": SETUP, "ktransformers/__init__.py": "", **{f"{name}.py": "" for name in EXTENSIONS}}
    commit = repository(hub / "kvcache-ai/ktransformers.git", {**sources, ".gitmodules": modules})
    links = standin_packages.make(tmp_path / "standins")
    wishes = offline("controller", *TOOLS)
    wishes["binds"] = (*wishes["binds"], Bind(str(links), LINKS), Bind(str(hub), HUB))
    (gpubox.directory / "variables.json").write_text(json.dumps(variables(commit)))

    def make(name: str) -> TestBox:
        box = adopt(gpubox, boxes(**wishes), name)
        for tool in ("gcc", "g++", "cmake", "make"):
            box.write(f"/usr/local/bin/{tool}", f"#!/bin/sh\necho {tool} 12.2.0\n", mode=0o755)
        # Of a directory, unlike of a server, git takes nothing unless told.
        box.exec("git config --system --add safe.directory '*'; git config --system protocol.file.allow always")
        gpubox("up", name)
        return box

    return make


def variables(commit: str) -> dict[str, Any]:
    versions = yaml.safe_load((paths.content() / "roles/ktransformers/vars/versions.yml").read_text())
    versions["ktransformers_tags"]["0.3.2"]["commit"] = commit
    return {
        "ktransformers_tags": versions["ktransformers_tags"],
        "ktransformers_requirements": ["torch==2.8.0", *TOOLS],
        "ktransformers_cuda": "13.0",
        "ktransformers_cuda_archs": "8.9",
        "ktransformers_flash_attn": False,
        "ktransformers_packages": ["git=git", "g++=g++"],
        "ktransformers_git_mirror": HUB,
        "ktransformers_gguf_path": "/root/model",
        "ktransformers_model_path": "/root/model",
        "python_env_find_links": ["/opt/wheelhouse", LINKS],
        "python_env_no_index": True,
    }


def play(gpubox: Gpubox, *stages: str, name: str = "mybox", check: bool = False) -> dict[str, int]:
    tasks = [{"name": it, "ansible.builtin.include_role": {"name": "ktransformers", "tasks_from": it}} for it in stages]
    playbook = gpubox.directory / "kt.yml"
    playbook.write_text(yaml.safe_dump([{"name": "T", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
    options = ["-e", f"@{gpubox.directory}/variables.json", *(["--check"] if check else [])]
    return counts(ansible(gpubox, "-i", "inventories/gpubox.yml", str(playbook), "--limit", name, *options), name)


def built(box: TestBox) -> str:
    """What the job that builds has said, once it has ended well."""
    waited = box.exec(f"{ROOT}/bin/boxctl job wait build-ktransformers --timeout 300")
    said = box.exec(f"{ROOT}/bin/boxctl logs build-ktransformers --lines 1000").stdout
    assert waited.exit_code == 0, said
    return said


BRING_ALONG = f"""
from gpubox import wheelhouse
from gpubox.ledger import Ledger
from gpubox.remote.host import Host
from gpubox.remote.login import Login
wanted = {{"gpubox_engine": "ktransformers", "ktransformers_torch": "2.8.0", "ktransformers_cuda_archs": "8.9"}}
with Ledger() as ledger, Host(Login.of(ledger.get('second'))) as host:
    print(len(wheelhouse.send(host, {ROOT!r}, wheelhouse.fitting(wanted, wheelhouse.wheels()))))
"""


@pytest.mark.slow
def test_what_was_built_goes_to_the_next_box(gpubox: Gpubox, make_box: Callable[[str], TestBox]) -> None:
    first = make_box("first")
    play(gpubox, "environment", "build", name="first")
    assert "Building CXX object" in built(first)
    assert "is kept for the next box" in gpubox("backup", "first").stderr

    second = make_box("second")
    # Without GitHub: what was built needs no sources.
    second.exec(f"umount {HUB}")
    argv = [sys.executable, "-c", BRING_ALONG]
    done = subprocess.run(argv, cwd=gpubox.directory, env=gpubox.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    play(gpubox, "environment", "build", name="second")
    said = built(second)
    assert "built before: ktransformers-0.3.1" in said
    assert "Building CXX object" not in said
    stamps = [json.loads(box.read(f"{ROOT}/envs/ktransformers/gpubox-ktransformers.json")) for box in (first, second)]
    assert stamps[0] == stamps[1]
    python = f"{ROOT}/envs/ktransformers/bin/python"
    assert second.exec(f"{python} -c 'import ktransformers, cpuinfer_ext, flashinfer'").exit_code == 0


def verified(gpubox: Gpubox, box: TestBox) -> None:
    """`tasks_from: verify` looks at what was built, at the weights, and asks the server, which a stand-in is."""
    box.write("/root/engine.py", ENGINE)
    argv = ["/usr/bin/python3", "/root/engine.py"]
    spec = {"argv": argv, "port": 10002, "health_url": "http://127.0.0.1:10002/v1/models"}
    applied = box.exec(f"{ROOT}/bin/boxctl service apply ktransformers", stdin=json.dumps(spec).encode())
    assert applied.exit_code == 0, applied.stderr
    recap = play(gpubox, "verify")
    assert (recap["failed"], recap["changed"]) == (0, 0)
    # An engine that got quick and dumb.
    box.exec("touch /root/dumb")
    with pytest.raises(AssertionError, match="it answers, and wrongly"):
        play(gpubox, "verify")
    box.exec("rm /root/dumb; mv /root/model/r1-00002-of-00002.gguf /root/model/away")
    with pytest.raises(AssertionError, match="lacks 1 of the 2 parts"):
        play(gpubox, "verify")
    box.exec("mv /root/model/away /root/model/r1-00002-of-00002.gguf")


def test_what_needs_no_gpu_is_done_and_the_rest_refused(gpubox: Gpubox, make_box: Callable[[str], TestBox]) -> None:
    box = make_box("mybox")
    assert play(gpubox, "environment", "build", check=True)["failed"] == 0
    assert play(gpubox, "environment", "build")["changed"] > 0
    built(box)
    stamp = json.loads(box.read(f"{ROOT}/envs/ktransformers/gpubox-ktransformers.json"))
    assert (stamp["tag"], stamp["torch"], stamp["cuda"], stamp["numa"]) == ("v0.3.2", "2.8.0+cu130", "13.0", False)
    python = f"{ROOT}/envs/ktransformers/bin/python"
    assert box.exec(f"{python} -c 'import ktransformers, cpuinfer_ext, flashinfer'").exit_code == 0
    assert play(gpubox, "environment", "build")["changed"] == 0

    with pytest.raises(AssertionError, match="refused: to serve the model with KTransformers needs a GPU"):
        play(gpubox, "serve")

    # As the service would start: with whole weights, and not beside another torch.
    box.exec("mkdir /root/model; printf 'GGUF' >/root/model/r1-00001-of-00002.gguf")
    program = box.exec(f"ls -d {ROOT}/lib/ktransformers/*").stdout.strip()
    launch = f"PYTHONPATH={program} {ROOT}/controller/bin/python -m kt_tools launch --env {ROOT}/envs/ktransformers"
    start = f"{launch} --built --weights /root/model -- /bin/echo up"
    assert "lacks 1 of the 2 parts" in box.exec(start).stderr
    box.exec("printf 'GGUF' >/root/model/r1-00002-of-00002.gguf")
    assert box.exec(start).stdout.strip() == "up"
    verified(gpubox, box)
    box.exec(f"sed -i s/2.8.0/2.9.1/ {ROOT}/envs/ktransformers/lib/python3.*/site-packages/torch/version.py")
    assert "built for torch 2.8.0+cu130, and the environment has 2.9.1+cu130 now" in box.exec(start).stderr

    assert play(gpubox, "remove")["changed"] > 0
    assert (
        box.exec(f"ls -d {ROOT}/envs/ktransformers {ROOT}/src/ktransformers-0.3.2 {ROOT}/lib/ktransformers").stdout
        == ""
    )
    assert play(gpubox, "remove")["changed"] == 0
