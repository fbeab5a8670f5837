"""What the role `ktransformers` starts, for every case in fixtures/commands: no build, no KTransformers.

The options of every rendered command are compared with what the server of that tag knows: vars/flags.yml of the role,
read from its sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kt_tools import machine
from unit.ansible.conftest import CHECKOUT, Hosts, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
CASES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((HERE / "fixtures/commands").glob("*.yml"))}
ROLE = CHECKOUT / "roles/ktransformers"
# The build runs after FlashAttention's, whose own tests are elsewhere; system packages are this machine's business.
COMMON: dict[str, object] = {"ktransformers_flash_attn": False, "ktransformers_packages": []}
# Also where the role itself says otherwise.
FORCED = ("-e", json.dumps(COMMON))

# Of each recipe one case goes through all stages; of the others only what the stages would be given is looked at.
WHOLE = ("classic-0.3.2-all", "current-bf16-all")
SHOWN = ("argv", "environment", "build", "requirements", "sources", "build_key", "url")

Specs = dict[str, dict[str, Any]]


def hosts_of(place: Path, cases: Mapping[str, Mapping[str, Any]]) -> Hosts:
    return Hosts(place, {name: {**COMMON, **variables} for name, variables in cases.items()})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """By case, the role's own variables that jobs and service are made from."""
    hosts = hosts_of(tmp_path_factory.mktemp("shown"), {name: case["variables"] for name, case in CASES.items()})
    values = ", ".join(f"'{name}': ktransformers_{name}" for name in SHOWN)
    show = {
        "name": "Show",
        "ansible.builtin.copy": {
            "content": f"{{{{ {{{values}}} | to_json }}}}",
            "dest": "{{ gpubox_root }}/shown.json",
        },
    }
    done = hosts.play([stage("ktransformers", "look"), show], *FORCED, "-e", f"ktransformers_here={ROLE}/files")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert "sk-hunter2" not in done.stdout + done.stderr
    read = {name: json.loads((box.root / "shown.json").read_text()) for name, box in hosts.boxes.items()}
    return {name: {**values, "root": str(hosts.boxes[name].root)} for name, values in read.items()}


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    """By case, what `boxctl` was told of each job and of the service."""
    hosts = hosts_of(tmp_path_factory.mktemp("whole"), {name: CASES[name]["variables"] for name in WHOLE})
    hosts.serve("ktransformers", ("environment", "build", "serve"), *FORCED)
    return hosts.told()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def server_argv(argv: list[str]) -> list[str]:
    return argv[argv.index("--") + 1 :]


def test_command_line_and_environment(case: str, shown: Specs) -> None:
    wanted, found = CASES[case], shown[case]
    root = found["root"]
    assert server_argv(found["argv"]) == wanted["argv"].replace("{root}", root).split()
    launcher = [f"{root}/controller/bin/python", "-m", "kt_tools", "launch", "--env", f"{root}/envs/ktransformers"]
    assert found["argv"][: found["argv"].index("--")] == [*launcher, *wanted["launch"].split()]
    expected = {name: value.replace("{root}", root) for name, value in wanted["env"].items()}
    assert {name: found["environment"].get(name) for name in expected} == expected
    assert not set(wanted["absent_env"]) & set(found["environment"])
    assert "sk-hunter2" not in json.dumps([found["argv"], found["environment"]])


def test_environment_and_build(case: str, shown: Specs) -> None:
    wanted, found = CASES[case], shown[case]
    assert set(wanted["requirements"]) <= set(found["requirements"])
    # What is not pinned is another package next month.
    assert all("==" in requirement for requirement in found["requirements"])
    if "build" in wanted:
        build = found["build"]
        assert {name: build[name] for name in wanted["build"]} == wanted["build"]
        cuda = wanted["variables"].get("ktransformers_cuda", "12.4")
        assert build["after"] == ["env-ktransformers", f"cuda-{cuda}"]
        assert build["source_job"] == "source-ktransformers"


@pytest.mark.parametrize("name", WHOLE)
def test_what_the_stages_start(name: str, shown: Specs, specs: Specs) -> None:
    """The same as what was shown, and nothing else."""
    mine, started = shown[name], specs[name]

    def moved(value: object) -> object:
        return json.loads(
            json.dumps(value).replace(mine["root"], started["ktransformers"]["cwd"][: -len("/ktransformers")])
        )

    service = started["ktransformers"]
    # A hash over paths, among them those of the two roots.
    expected = {**mine["environment"], "GPUBOX_CONFIG_REVISION": service["env"]["GPUBOX_CONFIG_REVISION"]}
    assert (service["argv"], service["env"]) == (moved(mine["argv"]), moved(expected))
    port = CASES[name]["variables"].get("ktransformers_port", 10002)
    assert (service["port"], service["health_url"]) == (port, f"http://127.0.0.1:{port}{CASES[name]['health']}")
    request = json.loads(started["env-ktransformers"]["env"]["GPUBOX_PYTHON_ENV"])
    assert request["requirements"] == mine["requirements"]
    classic = name.startswith("classic")
    jobs = {"source-ktransformers", "cuda-12.4", "build-ktransformers"} if classic else set()
    assert set(started) == {"ktransformers", "env-ktransformers", *jobs}
    if classic:
        job = started["build-ktransformers"]
        assert json.loads(job["env"]["GPUBOX_KTRANSFORMERS"]) == moved(mine["build"])
        assert json.loads(started["source-ktransformers"]["env"]["GPUBOX_KTRANSFORMERS"]) == moved(mine["sources"])
        # The path of the programs is named by their content and not part of what the build depends on.
        assert job["key"] == mine["build_key"]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("classic")])
def test_the_tag_knows_every_option(name: str, shown: Specs) -> None:
    """What argparse of that tag makes of the rendered command, by the recorded table of its options."""
    version = CASES[name]["variables"].get("ktransformers_version", "0.3.2")
    words = server_argv(shown[name]["argv"])[3:]
    kinds = flags(version)
    index = 0
    while index < len(words):
        option = words[index]
        kind = kinds.get(option) or kinds[option.replace("--no-", "--", 1)]
        index += 1
        if kind == "switch":
            continue
        value = words[index]
        index += 1
        assert not value.startswith("--"), (option, value)
        {"int": int, "float": float}.get(kind, str)(value)
        # type=bool takes any word for true, so nothing may be said to be false that way.
        assert kind != "bool" or value == "true"


def flags(version: str) -> dict[str, str]:
    table = yaml.safe_load((ROLE / "vars/flags.yml").read_text())
    kinds = (table["ktransformers_flags_common"], table["ktransformers_flags"][version])
    return {name: kind for group in kinds for kind, names in group.items() for name in names}


def test_the_tables_are_of_the_same_tags() -> None:
    table = yaml.safe_load((ROLE / "vars/flags.yml").read_text())["ktransformers_flags"]
    versions = yaml.safe_load((ROLE / "vars/versions.yml").read_text())
    locks = {path.name.removeprefix("v").removesuffix(".txt") for path in (ROLE / "files/requirements").glob("*.txt")}
    assert set(table) == set(versions["ktransformers_tags"]) == locks
    assert versions["ktransformers_versions"]["classic"] in table
    for version, row in versions["ktransformers_tags"].items():
        named = [row["backend_option"], *([row["chunk_option"]] if row["chunk_option"] else []), row["force_think"][0]]
        assert set(named) <= set(flags(version))
        assert row["api_key"] == ("--api_key" in flags(version))


def test_keys_differ_where_the_builds_do(shown: Specs) -> None:
    keys = {name: found["build_key"] for name, found in shown.items() if name.startswith("classic")}
    assert len(set(keys.values())) == len(keys)


def test_threads_are_found_on_the_box(tmp_path: Path) -> None:
    """The role's rule and the program's are one, and threads never outnumber the cores."""
    found = machine.read()
    recipes = ("classic", "current")
    hosts = hosts_of(tmp_path, {recipe: {"ktransformers_recipe": recipe} for recipe in recipes})
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ ktransformers_recipe }}={{ ktransformers_threads }}."}}
    done = hosts.play([stage("ktransformers", "look"), show], *FORCED)
    for recipe in recipes:
        assert f"{recipe}={machine.cpu_infer(recipe, found.cpus, found.physical)}." in done.stdout, done.stdout


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "tag": ({"ktransformers_version": "0.3"}, "KTransformers 0.3 is not known to the classic recipe"),
    "serve": (
        {"ktransformers_version": "0.2.3post2", "ktransformers_backend_type": "balance_serve"},
        "KTransformers 0.2.3post2 has no balance_serve",
    ),
    "key": (
        {"ktransformers_version": "0.2.1.post1", "ktransformers_api_key": "sk-hunter2"},
        "KTransformers 0.2.1.post1 cannot ask for a key",
    ),
    "chunk": ({"ktransformers_version": "0.2.1.post1", "ktransformers_chunk_size": 512}, "computes prompts in one go"),
    "option": ({"ktransformers_extra_args": ["--total_context", "4096"]}, "has no option --total_context"),
    "method": ({"ktransformers_recipe": "current"}, "`ktransformers.kt_method` is not set"),
}


def test_what_cannot_work_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    hosts = hosts_of(tmp_path, {name: variables for name, (variables, _) in REFUSED.items()})
    done = hosts.play([stage("ktransformers", "environment")], *FORCED)
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    for name, (_, says) in REFUSED.items():
        assert says in said, done.stdout[-3000:]
        assert not [argv for argv in hosts.boxes[name].calls() if argv[1:2] == ["start"]], name


def test_without_a_gpu_serving_is_refused_by_name(tmp_path: Path) -> None:
    given = {"ktransformers_gguf_path": "/g", "ktransformers_model_path": "/m"}
    hosts = hosts_of(tmp_path, {"box": given})
    done = hosts.play([stage("ktransformers", "serve")], *FORCED)
    if "Wait for the environment" in done.stdout:
        pytest.skip("this machine has a GPU")
    assert "refused: to serve the model with KTransformers needs a GPU" in " ".join(done.stdout.split())
    assert not [argv for argv in hosts.boxes["box"].calls() if argv[1:2] == ["apply"]]
