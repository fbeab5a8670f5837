"""The modules, run by Ansible as on a box: state, check mode, diff, and what they say when something fails."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import pytest

from unit.ansible.conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from unit.ansible.conftest import Ansible

PLUGINS = CHECKOUT / "py_tools/gpubox/ansible_plugins"
ON_THE_BOX = [*(PLUGINS / "modules").glob("*.py"), *(PLUGINS / "module_utils").glob("*.py")]


@pytest.mark.parametrize("path", ON_THE_BOX, ids=lambda path: path.stem)
def test_runs_on_old_pythons_with_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in imported if name.split(".")[0] in {"gpubox", "pydantic", "yaml", "requests"}}


def tree(place: Path, content: str = "hello\n") -> dict[str, Any]:
    return {
        "gpubox_tree": {
            "directories": [{"path": f"{place}/a/b", "mode": "0700"}],
            "files": [
                {"path": f"{place}/a/file", "content": content, "mode": "0640"},
                {"path": f"{place}/secret", "content": f"password-{content}", "mode": "0600", "sensitive": True},
            ],
            "links": [{"path": f"{place}/link", "target": "a/file"}],
            "absent": [f"{place}/old"],
        }
    }


def test_tree_check_make_again_and_mend(ansible: Ansible) -> None:
    place = ansible.place / "tree"
    (place / "old/deep").mkdir(parents=True)
    checked = ansible.results([tree(place)], "--check", "--diff")[0]
    assert checked["changed"]
    assert sorted(path.name for path in place.iterdir()) == ["old"]
    assert "password" not in json.dumps(checked["diff"])

    made, again = ansible.results([tree(place), tree(place)])
    assert made["paths"] == checked["paths"]
    assert (place / "a/file").read_text() == "hello\n"
    assert (place / "a/file").stat().st_mode & 0o777 == 0o640
    assert (place / "a/b").stat().st_mode & 0o777 == 0o700
    assert (place / "link").resolve() == place / "a/file"
    assert not (place / "old").exists()
    assert not again["changed"]

    (place / "a/file").chmod(0o666)
    (place / "link").unlink()
    (place / "link").symlink_to("elsewhere")
    mended, other = ansible.results([tree(place), tree(place, "other\n")])
    assert mended["paths"] == [f"{place}/a/file", f"{place}/link"]
    assert other["paths"] == [f"{place}/a/file", f"{place}/secret"]
    assert not list(place.rglob(".gpubox-*")), "a temporary file was left"


def test_tree_refuses_what_it_would_destroy(ansible: Ansible) -> None:
    place = ansible.place / "tree"
    (place / "directory").mkdir(parents=True)
    (place / "file").touch()
    wrong = [
        {"files": [{"path": f"{place}/directory", "content": ""}]},
        {"directories": [{"path": f"{place}/file"}]},
        {"links": [{"path": f"{place}/file", "target": "x"}]},
        {"absent": ["/"]},
        {"directories": [{"path": "relative"}]},
        {"directories": [{"path": f"{place}/new", "mode": "rwx"}]},
        {"directories": [{"path": "/proc/nothing/here"}]},
    ]
    said = [result["msg"] for result in ansible.results([{"gpubox_tree": arguments} for arguments in wrong])]
    for message, part in zip(
        said,
        ("a file is wanted", "a directory is wanted", "a link is wanted", "`/`", "absolute", "octal", "/proc/nothing"),
        strict=True,
    ):
        assert part in message
    assert (place / "directory").is_dir()
    assert (place / "file").is_file()


def job(ansible: Ansible, **arguments: object) -> dict[str, Any]:
    return {"gpubox_job": {"root": str(ansible.root), "name": "work", **arguments}}


def test_job_starts_once_and_waits(ansible: Ansible) -> None:
    spec = {"key": "k1", "argv": ["works"], "secret_env": {"TOKEN": "hunter2-secret"}, "env": {"A": "1"}}
    results = ansible.results(
        [
            job(ansible, **spec),
            job(ansible, **spec),
            job(ansible, **spec, state="done"),
            job(ansible, state="done"),
            job(ansible, **{**spec, "key": "k2"}, state="done"),
            job(ansible, state="absent"),
            job(ansible, state="absent"),
            job(ansible, state="done"),
        ]
    )
    assert [result["changed"] for result in results] == [True, False, False, False, True, True, False, False]
    assert results[2]["job"]["state"] == "done"
    assert results[2]["diff"]["after"] == {"state": "running", "key": "k1"}
    assert "there is no job `work`" in results[7]["msg"]
    starts = [argv for argv in ansible.calls() if argv[:2] == ["job", "start"]]
    assert starts == [["job", "start", "work"]] * 2
    assert not any("hunter2-secret" in word for argv in ansible.calls() for word in argv)
    assert any('"TOKEN": "hunter2-secret"' in stdin for stdin in ansible.stdins())


def test_job_in_check_mode_starts_nothing(ansible: Ansible) -> None:
    spec = {"key": "k1", "argv": ["works"]}
    before = ansible.results([job(ansible, **spec, state="done")], "--check")[0]
    assert before["changed"]
    assert ansible.calls() == [["status"]]
    ansible.results([job(ansible, **spec, state="done")])
    assert not ansible.results([job(ansible, **spec, state="done")], "--check")[0]["changed"]


def test_check_mode_on_a_box_that_has_nothing_yet(ansible: Ansible) -> None:
    (ansible.root / "bin/boxctl").unlink()
    started, waited, removed = ansible.results(
        [job(ansible, key="k", argv=["works"]), job(ansible, state="done"), job(ansible, state="absent")], "--check"
    )
    assert [result["changed"] for result in (started, waited, removed)] == [True, False, False]


def test_job_runs_again_when_what_it_made_is_gone(ansible: Ansible) -> None:
    made = ansible.place / "made"
    spec = {"key": "k1", "argv": ["works"], "env": {"MAKES": str(made)}, "creates": str(made), "state": "done"}
    assert [result["changed"] for result in ansible.results([job(ansible, **spec)] * 2)] == [True, False]
    made.unlink()
    assert ansible.results([job(ansible, **spec)])[0]["changed"]
    assert made.exists()


def test_job_that_fails_shows_its_last_lines(ansible: Ansible) -> None:
    failed, slow, bare = ansible.results(
        [
            job(ansible, key="k", argv=["fails"], state="done"),
            job(ansible, key="k2", argv=["hangs"], state="done", timeout=1),
            {"gpubox_job": {"root": str(ansible.place / "elsewhere"), "name": "work", "key": "k", "argv": ["works"]}},
        ]
    )
    assert failed["failed"]
    assert "job `work` failed (exit code 7): it broke" in failed["msg"]
    assert failed["stderr"].splitlines()[-1] == "line 29 of work"
    assert len(failed["stderr"].splitlines()) == 30
    assert "still runs after 1 s; it goes on" in slow["msg"]
    assert "run the role `supervisor` first" in bare["msg"]


def service(ansible: Ansible, **arguments: object) -> dict[str, Any]:
    spec = {"argv": ["serve", "--port", "8010"], "env": {"API_KEY": "hunter2", "PORT": "8010"}}
    return {"gpubox_service": {"root": str(ansible.root), "name": "files", **spec, **arguments}}


def test_service_applies_restarts_stops_and_goes(ansible: Ansible) -> None:
    checked = ansible.results([service(ansible)], "--check", "--diff")[0]
    assert checked["changed"]
    assert checked["service"] is None
    assert "hunter2" not in json.dumps(checked["diff"])
    assert checked["diff"]["after"]["env"]["PORT"] == "8010"

    results = ansible.results(
        [
            service(ansible),
            service(ansible),
            service(ansible, env={"PORT": "8011"}),
            service(ansible, state="stopped"),
            service(ansible, state="stopped"),
            service(ansible, env={"PORT": "8011"}),
            service(ansible, state="absent"),
            service(ansible, state="absent"),
        ]
    )
    assert [result["changed"] for result in results] == [True, False, True, True, False, True, True, False]
    assert results[5]["service"]["state"] == "running"
    assert results[7]["service"] is None


def test_service_that_failed_is_started_again(ansible: Ansible) -> None:
    ansible.results([service(ansible)])
    ansible.state("services", "files", state="failed")
    again = ansible.results([service(ansible)])[0]
    assert again["changed"]
    assert again["service"]["state"] == "running"
