"""What is started by `python -m PROGRAM run` is asked in its own words; other services, and secrets, are left out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from boxctl.ask import ask
from boxctl.errors import BoxctlError
from boxctl.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import json, os, sys, time
told = json.load(sys.stdin)
if sys.argv[1] == "wait":
    time.sleep(1000)
if sys.argv[1] == "fail":
    sys.exit("error: it is not there")
print(json.dumps({"verb": sys.argv[1:], "told": told, "key": os.environ.get("KEY")}))
"""


def serve(root: Path, name: str, words: list[str], **env: str) -> None:
    place = root / "services" / name
    place.mkdir(parents=True)
    (place / "service.json").write_text(json.dumps({"argv": words, "env": {"KEY": "secret", **env}}))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/box_program.py").write_text(PROGRAM)
    own = [sys.executable, "-s", "-m", "box_program"]
    serve(tmp_path, "a-clock", [*own, "every"])
    serve(tmp_path, "b-web", [*own, "run", "/place"], PYTHONPATH=str(tmp_path / "lib"))
    return Layout(tmp_path)


def test_a_service_answers_in_its_own_words(layout: Layout) -> None:
    answer = ask(layout, "box_program", "judge", {"x": 1}, 60)
    told = {"x": 1, "root": str(layout.root), "service": "b-web"}
    assert answer == {"service": "b-web", "verb": ["judge"], "told": told, "key": None}
    assert ask(layout, "other_program", "judge", {}, 60) == {"service": None}


def test_what_goes_wrong_is_told(layout: Layout) -> None:
    with pytest.raises(BoxctlError, match=r"^it is not there$"):
        ask(layout, "box_program", "fail", {}, 60)
    with pytest.raises(BoxctlError, match=r"`box_program wait` did not end within 0\.2 s"):
        ask(layout, "box_program", "wait", {}, 0.2)
