"""Packages for boxes without a network: wheels from this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from box.testbox.wheelhouse import uv_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import BoxFactory
    from box.testbox.options import Wishes


def test_a_box_installs_the_controller_environment_from_wheels_alone(
    boxes: BoxFactory, offline: Callable[..., Wishes]
) -> None:
    box = boxes(**offline("controller"))
    done = box.exec(
        "cd /root/autodl-tmp && python3 -m venv c && c/bin/pip install -q uv"
        " && c/bin/uv pip install -q --python c/bin/python --no-index --find-links /opt/wheelhouse"
        " ansible-core supervisor pydantic && c/bin/supervisord --version",
        timeout=300,
    )
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("4.")
    assert "No matching distribution" in box.exec("/root/autodl-tmp/c/bin/pip install requests").stderr


@pytest.mark.parametrize(
    ("pip", "flags"),
    [
        ({}, []),
        ({"no-index": "true", "find-links": "/a /b"}, ["--find-links", "/a", "--find-links", "/b", "--no-index"]),
        (
            {"index-url": "https://m/simple", "extra-index-url": "https://n", "trusted-host": "m"},
            ["--default-index", "https://m/simple", "--index", "https://n", "--allow-insecure-host", "m"],
        ),
        ({"no-index": "0", "cert": "/c", "timeout": "5"}, []),
    ],
)
def test_pip_configuration_becomes_flags_of_uv(pip: dict[str, str], flags: list[str]) -> None:
    assert uv_flags(pip) == ["--index-strategy", "unsafe-best-match", *flags]
