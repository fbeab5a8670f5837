"""Every role keeps its promises on paper: specification, defaults, README and files agree."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gpubox.boxfile import Guard, Ktransformers, Ollama, PythonEnv, SmallGpt, Vllm
from gpubox.boxfile.engines import FlashAttn
from unit.ansible.conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

ROLES = sorted(path for path in (CHECKOUT / "roles").iterdir() if (path / "meta").is_dir())


@cache
def read(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def specification(role: Path) -> dict[str, Any]:
    return dict(read(role / "meta/argument_specs.yml")["argument_specs"])


def options(role: Path) -> dict[str, Any]:
    return dict(specification(role)["main"].get("options") or {})


@pytest.fixture(params=ROLES, ids=lambda path: path.name)
def role(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_are_roles() -> None:
    assert {"base", "python_env", "vllm"} <= {path.name for path in ROLES}


def test_specification_defaults_and_readme_name_the_same_variables(role: Path) -> None:
    specified = set(options(role))
    assert specified == set(read(role / "defaults/main.yml"))
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|", (role / "README.md").read_text(), re.MULTILINE)
    assert specified == {name for name in rows if name.startswith(f"{role.name}_")}


def test_variables_carry_the_roles_name(role: Path) -> None:
    internal = set(read(role / "vars/main.yml")) | set(read(role / "vars/versions.yml"))
    assert not {name for name in set(options(role)) | internal if not name.startswith(f"{role.name}_")}


def test_readme_shows_the_defaults(role: Path) -> None:
    readme = (role / "README.md").read_text()
    # Markdown writes a pipe inside a table as `\|`.
    table = readme.replace("\\|", "|")
    shown = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (?:`([^`]*)`)?", table, re.MULTILINE))
    for name, value in read(role / "defaults/main.yml").items():
        if isinstance(value, bool | int | float):
            assert shown[name] == str(value).lower(), name
        elif isinstance(value, str) and value and len(value) < 60:
            assert shown[name].strip('"') == value, name


def test_specified_defaults_are_the_real_ones(role: Path) -> None:
    """`default:` of a specification sets nothing, so it can lie."""
    real = read(role / "defaults/main.yml")
    for name, option in options(role).items():
        if "default" in option:
            assert option["default"] == real[name], name
        else:
            assert option.get("required") or real[name] in (None, ""), f"{name} has a default that is not specified"
        assert option.get("description"), name
        assert option.get("type"), name


def test_entry_points_exist(role: Path) -> None:
    for name in specification(role):
        assert (role / f"tasks/{name}.yml").exists() or name == "main"
    wanted = [
        "README.md",
        "defaults/main.yml",
        "meta/main.yml",
        *(f"tasks/{name}.yml" for name in ("main", "verify", "remove")),
    ]
    assert not [name for name in wanted if not (role / name).exists()]


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("flash_attn", FlashAttn),
        ("guard", Guard),
        ("ktransformers", Ktransformers),
        ("ollama", Ollama),
        ("python_env", PythonEnv),
        ("small_gpt", SmallGpt),
        ("vllm", Vllm),
    ],
)
def test_box_file_fields_are_role_variables(section: str, model: type[BaseModel]) -> None:
    declared = set(options(CHECKOUT / "roles" / section))
    assert not {f"{section}_{field}" for field in model.model_fields} - declared
