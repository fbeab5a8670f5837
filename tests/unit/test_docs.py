"""Generated pages are fresh, and no document names what does not exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpubox.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
NAMES = {name for section in COMMANDS.values() for name in section}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "py_tools/make_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_commands_that_exist(page: Path) -> None:
    named = set(re.findall(r"(?:^|`|\$ )gpubox ([a-z]+)\b", page.read_text(), flags=re.MULTILINE))
    assert named <= NAMES, f"{page.name} names {sorted(named - NAMES)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_tree_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
