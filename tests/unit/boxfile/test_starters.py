"""`gpubox init`: starter files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import json_schema, load, template_names, write_starter
from gpubox.errors import Failed, Refused, UnknownTemplate, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_starters_there_are() -> None:
    by_login = ["4090-finetune", "4090-ktransformers-r1", "4090-ollama", "4090-vllm", "attach"]
    rented = ["autodl-4090-vllm", "compshare-4090-vllm", "ec2-g5-vllm"]
    assert template_names() == sorted([*by_login, *rented, "local-demo"])


@pytest.mark.parametrize("template", template_names())
def test_a_starter_is_a_right_box_file_that_editors_can_check(template: str, tmp_path: Path) -> None:
    path = write_starter("my-box", template, tmp_path / "boxes")
    assert path == tmp_path / "boxes" / "my-box.yml"
    assert load(path)
    assert "NAME" not in path.read_text(encoding="utf-8")
    assert "gpubox up my-box" in path.read_text(encoding="utf-8")
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert named != first
    assert json.loads((path.parent / named).read_text(encoding="utf-8")) == json_schema()


@pytest.mark.parametrize("template", template_names())
def test_a_starter_speaks_chinese_too_and_fits_a_screen(template: str, tmp_path: Path) -> None:
    text = write_starter("my-box", template, tmp_path).read_text(encoding="utf-8")
    assert any("\u4e00" <= character <= "\u9fff" for character in text.splitlines()[1] + text.splitlines()[2])
    assert max(len(line) for line in text.splitlines()) <= 120


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = write_starter("demo", "local-demo", tmp_path)
    path.write_text("mine\n")
    with pytest.raises(Refused, match="there already") as caught:
        write_starter("demo", "4090-vllm", tmp_path)
    assert path.read_text() == "mine\n"
    assert caught.value.exit_code == 3


def test_an_unknown_starter_names_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(UnknownTemplate, match="did you mean `4090-vllm`") as caught:
        write_starter("demo", "4090_vlm", tmp_path)
    assert "local-demo" in str(caught.value.hint)
    with pytest.raises(UnknownTemplate):
        write_starter("demo", "../../pyproject", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "x-", "my box", "盒子", "a" * 41, "x.yml", "a_b"])
def test_a_name_that_cannot_be_a_file_and_a_host_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a box"):
        write_starter(name, "local-demo", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "boxes").write_text("a file\n")
    with pytest.raises(Failed, match="cannot write"):
        write_starter("demo", "local-demo", tmp_path / "boxes")
