"""What holds for every row and for every plan."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename
from pydantic import ValidationError

from gpubox import paths
from gpubox.boxfile import BoxFile
from gpubox.builds import Environment, resolve
from gpubox.builds.flash_attn import choose, names
from gpubox.builds.machine import Machine, capability_of
from gpubox.builds.matrix import _FILE, Matrix, Torch, matrix
from gpubox.builds.versions import key, minor, nearest, numbers, within
from unit.preflight.boxes import facts_of

CARDS = {
    "7.0": "Tesla V100",
    "7.5": "RTX 2080 Ti",
    "8.6": "RTX 3090",
    "8.9": "RTX 4090",
    "9.0": "H20",
    "12.0": "RTX 5090",
}
WHEELS = {name for row in matrix().flash_attn for name in names(row)}


def raw() -> dict[str, list[dict[str, Any]]]:
    content: dict[str, list[dict[str, Any]]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return content


def test_every_row_has_a_source_and_a_date() -> None:
    rows = [row for table in raw().values() for row in table]
    assert len(rows) > 100
    for row in rows:
        assert row["source"], row
        assert isinstance(row["as_of"], datetime.date), row


@pytest.mark.parametrize("field", ["source", "as_of"])
def test_a_row_without_them_is_not_read(field: str) -> None:
    content = raw()
    del content["torch"][0][field]
    with pytest.raises(ValidationError, match=field):
        Matrix.model_validate(content)


def test_a_row_that_names_an_unknown_torch_is_not_read() -> None:
    content = raw()
    content["vllm"][0]["cuda"] = "11.0"
    with pytest.raises(ValidationError, match="which is no row of `torch`"):
        Matrix.model_validate(content)


@pytest.mark.parametrize("table", ["torch", "vllm", "nvcc", "cuda", "drivers", "estimates"])
def test_no_row_stands_twice(table: str) -> None:
    names = [row.get("version") or row.get("what") or row.get("cuda") for row in raw()[table]]
    assert len(names) == len(set(names))


def test_torch_s_own_build_is_one_of_its_builds() -> None:
    for row in matrix().torch:
        assert row.default in row.abi
        # PyTorch's wheels have the new ABI from 2.7 on, and the old one before, but for CUDA 12.6 of 2.6.
        for cuda, abi in row.abi.items():
            assert abi == (numbers(row.version) >= (2, 7) or cuda == "12.6")


def test_roles_pin_what_the_matrix_says() -> None:
    roles = paths.content() / "roles"
    toolkit = yaml.safe_load((roles / "cuda_toolkit/vars/versions.yml").read_text(encoding="utf-8"))
    rows = {row.cuda: row for row in matrix().nvcc}
    labels = {cuda: row.name for cuda, row in rows.items() if row.how == "conda"}
    assert toolkit["cuda_toolkit_conda_labels"] == labels
    for cuda, wheels in toolkit["cuda_toolkit_wheels"].items():
        assert rows[cuda].name in wheels
    flash = yaml.safe_load((roles / "flash_attn/vars/versions.yml").read_text(encoding="utf-8"))
    assert set(flash["flash_attn_sdists"]) == {row.version for row in matrix().flash_attn_sources}
    assert flash["flash_attn_pinned_version"] == matrix().flash_attn_sources[0].version
    kt = yaml.safe_load((roles / "ktransformers/vars/versions.yml").read_text(encoding="utf-8"))
    for recipe in ("classic", "current"):
        mine = [row for row in matrix().ktransformers if row.recipe == recipe]
        assert kt["ktransformers_versions"][recipe] == mine[0].version
    classic = [row for row in matrix().ktransformers if row.recipe == "classic"]
    assert set(kt["ktransformers_tags"]) == {row.version for row in classic}
    assert {(row.torch, row.cuda) for row in classic} == {
        (kt["ktransformers_classic_torch"], kt["ktransformers_classic_cuda"])
    }
    assert set(toolkit["cuda_toolkit_wheels"]) == {cuda for cuda, row in rows.items() if row.how == "wheels"}


def test_names_of_wheels_are_names_of_wheels() -> None:
    assert len(WHEELS) > 200
    for name in WHEELS:
        package, version, _, tags = parse_wheel_filename(name)
        assert package == "flash-attn"
        assert version.local
        assert all("x86_64" in tag.platform for tag in tags)
    # As they stand on the release pages.
    assert "flash_attn-2.7.4.post1+cu12torch2.6cxx11abiFALSE-cp312-cp312-linux_x86_64.whl" in WHEELS
    assert "flash_attn-2.6.3+cu123torch2.4cxx11abiTRUE-cp310-cp310-linux_x86_64.whl" in WHEELS
    assert "flash_attn-2.7.4.post1+cu12torch2.4cxx11abiFALSE-cp313-cp313-linux_x86_64.whl" not in WHEELS


@pytest.mark.parametrize("torch", matrix().torch, ids=lambda row: row.version)
def test_every_wheel_that_is_decided_stands_in_the_matrix(torch: Torch) -> None:
    pythons = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
    for cuda, python, card, glibc in itertools.product(torch.abi, pythons, CARDS, ((2, 31), (2, 35))):
        machine = Machine(known=True, capabilities=(card,), glibc=glibc)
        environment = Environment("e", python, (), torch=torch.version, cuda=cuda, abi=torch.abi[cuda])
        found = choose(machine, environment, None)
        if found.found is None:
            assert found.refusal is not None
            assert found.refusal.fix
        elif found.found.build == "wheel":
            assert found.found.wheel in WHEELS
            assert f"cp{python.replace('.', '')}-" in found.found.wheel
            assert f"torch{minor(torch.version)}" in found.found.wheel
            if "cxx11abi" in found.found.wheel:
                assert f"cxx11abi{str(torch.abi[cuda]).upper()}" in found.found.wheel
        else:
            assert found.found.wheel == ""
            assert found.found.units > 0


def boxes() -> list[dict[str, Any]]:
    base = {"provider": "attach", "model": {"source": "modelscope", "id": "a/b"}}
    versions = [None, *(row.version for row in matrix().vllm)]
    engines: list[dict[str, Any]] = [{"engine": "vllm", "vllm": {"version": v} if v else {}} for v in versions]
    engines += [
        {"engine": "ktransformers", "ktransformers": {"recipe": row.recipe, "version": row.version}}
        for row in matrix().ktransformers
    ]
    flash: list[dict[str, Any]] = [{}, {"flash_attn": {}}, {"flash_attn": {"build": "source"}}]
    return [base | engine | extra for engine, extra in itertools.product(engines, flash)]


@pytest.mark.parametrize("driver", ["470.223.02", "535.183.01", "550.54.15", "580.95.05"])
@pytest.mark.parametrize("card", CARDS)
def test_no_plan_is_against_the_tables(driver: str, card: str) -> None:
    over = {"gpu": {"driver": driver}, "system": {"libc_version": "2.35"}}
    cards = {"count": 1, "name": CARDS[card], "gib": 24, "compute_cap": card}
    facts = facts_of({"base": "autodl-4090", "facts": over, "cards": cards})
    for box in boxes():
        plan = resolve(facts, BoxFile.model_validate(box))
        for refusal in plan.refusals:
            assert refusal.message, refusal
            assert refusal.fix, refusal
        assert len({item.name for item in plan.environments}) == len(plan.environments)
        for environment in plan.environments:
            packages = {Requirement(item).name.lower() for item in environment.requirements}
            for row in matrix().same_directory:
                assert len(packages & set(row.packages)) <= 1
        if plan.refusals:
            continue
        environment = plan.environments[0]
        assert environment.cuda is not None
        assert int(driver.partition(".")[0]) >= matrix().driver_for(environment.cuda)
        if plan.nvcc is not None:
            assert plan.nvcc.version == environment.cuda
        if plan.flash_attn is not None and plan.flash_attn.build == "wheel":
            assert plan.flash_attn.wheel in WHEELS


def test_compiling_flash_attn_has_a_compiler() -> None:
    cards = {"count": 1, "name": "NVIDIA GeForce RTX 4090", "gib": 24, "compute_cap": "8.9"}
    facts = facts_of({"base": "autodl-4090", "cards": cards})
    for box in boxes():
        plan = resolve(facts, BoxFile.model_validate(box))
        if not plan.refusals and plan.flash_attn is not None and plan.flash_attn.build == "source":
            assert plan.nvcc is not None
            assert plan.flash_attn.jobs >= 1


@pytest.mark.parametrize(
    ("cpus", "gib", "threads", "jobs"),
    [
        (64, 480, 1, 64),
        (64, 480, 2, 32),
        (64, 480, 4, 16),
        (128, 480, 1, 64),
        (16, 120, 1, 16),
        (2, 24, 1, 2),
        (8, 4, 1, 1),
    ],
)
def test_the_rule_for_compilers_at_once(cpus: int, gib: int, threads: int, jobs: int) -> None:
    assert Machine(known=True, cpus=cpus, memory=gib * 2**30).jobs(threads) == jobs


def test_versions() -> None:
    assert nearest("0.25.9", ["0.7.3", "0.25.1", "0.32.0"]) == "0.25.1"
    assert nearest("0.1.0", ["0.7.3", "0.25.1"]) == "0.7.3"
    assert nearest("1", []) is None
    assert sorted(["0.2.10", "0.2.3post2", "0.2.3"], key=key) == ["0.2.3", "0.2.3post2", "0.2.10"]
    assert within("3.12.4", ("3.10", "3.12"))
    assert not within("3.13", ("3.10", "3.12"))
    assert within("2.10.0", ("2.4", "2.13"))


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("RTX 4090", "8.9"),
        ("4090D", "8.9"),
        ("NVIDIA GeForce RTX 2080 Ti", "7.5"),
        ("2080Ti", "7.5"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("NVIDIA A10", "8.6"),
        ("Tesla V100-SXM2-32GB", "7.0"),
        ("NVIDIA H20", "9.0"),
        ("RTX 5090", "12.0"),
        ("L4", "8.9"),
        ("Ascend 910B", None),
        ("", None),
    ],
)
def test_cards_by_their_names(name: str, capability: str | None) -> None:
    assert capability_of(name) == capability
