"""The package indexes of the person who makes a local box, from pip's files and pip's and uv's variables."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.providers.local_box import pip_config

CASES = sorted((Path(__file__).parent / "fixtures" / "pip_config").glob("*.yml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_effective_configuration(path: Path) -> None:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    found = pip_config.effective(case.get("files", []), case.get("environment", {}), here=Path("/where/I/am"))
    assert found == case["expected"]
    # What is written for the box is read the same way.
    assert pip_config.effective([pip_config.render(found)], {}, here=Path("/elsewhere")) == case["expected"]


def test_pip_itself_reads_what_is_rendered() -> None:
    text = pip_config.render({"index-url": ["https://u:p%40ss@index.test/simple"], "find-links": ["/a", "/b"]})
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert parser["global"]["index-url"] == "https://u:p%40ss@index.test/simple"
    assert parser["global"]["find-links"].split() == ["/a", "/b"]


def test_files_in_pips_order(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    files = pip_config.configuration_files(environ)
    assert files.index(Path("/etc/pip.conf")) < files.index(tmp_path / "config" / "pip" / "pip.conf")
    named = tmp_path / "mine.conf"
    named.touch()
    files = pip_config.configuration_files({**environ, "PIP_CONFIG_FILE": str(named)})
    assert files[-1] == named
    assert tmp_path / "config" / "pip" / "pip.conf" not in files
    assert pip_config.configuration_files({**environ, "PIP_CONFIG_FILE": "/dev/null"}) == []


def test_unreadable_files_are_passed_over(tmp_path: Path) -> None:
    binary = tmp_path / "pip.conf"
    binary.write_bytes(b"\xff\xfe\x00")
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(binary), "PIP_INDEX_URL": "https://index.test/simple"}
    assert pip_config.own_configuration(environ)["index-url"] == ["https://index.test/simple"]
