"""Every way in which people write down an SSH login."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.errors import BadSshLine
from gpubox.remote.sshline import parse

CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load((Path(__file__).parent / "fixtures/sshline.yml").read_text())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text("")
    return path


@pytest.mark.parametrize("case", CASES["reads"], ids=lambda case: case["line"])
def test_reads(case: dict[str, Any], config: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    config.write_text(case.get("config", "").replace("KEY", str(key)))
    read = parse(case["line"].replace("KEY", str(key)), config=config)
    assert str(read.endpoint) == case["at"]
    assert read.endpoint.proxy_jump == case.get("jump")
    assert read.identity_file == (key if case.get("identity") else None)
    if "note" in case:
        assert case["note"] in " ".join(read.notes)
    else:
        assert read.notes == ()


@pytest.mark.parametrize("case", CASES["refuses"], ids=lambda case: case["line"] or "empty")
def test_refuses(case: dict[str, Any], config: Path) -> None:
    with pytest.raises(BadSshLine) as caught:
        parse(case["line"], config=config)
    assert case["says"] in caught.value.message
    assert caught.value.exit_code == 2
    assert "ssh -p 38076 root@connect.westb.seetacloud.com" in (caught.value.hint or "")
    assert "s3cret" not in caught.value.message


def test_the_order_of_the_words_does_not_matter(config: Path) -> None:
    parts = ["-p 2200", "-o User=alice", "-C", "h.example"]
    for order in itertools.permutations(parts):
        for glued in (False, True):
            words = [part.replace(" ", "") if glued and part.startswith("-") else part for part in order]
            read = parse(" ".join(["ssh", *words]), config=config)
            assert str(read.endpoint) == "alice@h.example:2200", words


def test_a_user_that_nobody_names_is_the_one_ssh_would_take(config: Path) -> None:
    config.write_text("Host *.example\n User carol\n")
    assert parse("ssh h.example", config=config).endpoint.user == "carol"


def test_a_proxy_command_in_the_configuration_is_told(config: Path) -> None:
    config.write_text("Host gpu\n ProxyCommand nc %h %p\n")
    with pytest.raises(BadSshLine, match="ProxyCommand"):
        parse("ssh gpu", config=config)
