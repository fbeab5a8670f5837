"""Bad box files: each fixture holds a box file and every line that is said about it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from gpubox.boxfile import load, template_names
from gpubox.errors import BoxFileError
from gpubox.paths import content

CASES = sorted((Path(__file__).parent / "mistakes").glob("*.yml"))
SECRETS = ("hush", "sk-abcdef", "hf_abcdef")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_mistake_is_told_with_its_line(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fixture = yaml.safe_load(case.read_text(encoding="utf-8"))
    (tmp_path / "box.yml").write_text(fixture["file"], encoding="utf-8")

    with pytest.raises(BoxFileError) as caught:
        load(Path("box.yml"))

    header, *lines = caught.value.message.splitlines()
    assert lines == fixture["expect"].splitlines()
    many = sum(line.startswith("box.yml:") for line in lines)
    assert header == ("the box file has a mistake:" if many == 1 else f"the box file has {many} mistakes:")
    assert caught.value.where == "box.yml"
    assert caught.value.exit_code == 2
    assert not any(secret in caught.value.message for secret in SECRETS)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25


@pytest.mark.parametrize("template", template_names())
def test_a_spoilt_file_is_refused_with_a_line_and_never_crashes(template: str, tmp_path: Path) -> None:
    """Lines are dropped, doubled, moved, and characters changed; what comes is a box file or a `BoxFileError`."""
    text = (content() / "templates" / "boxes" / f"{template}.yml").read_text(encoding="utf-8")
    dice = random.Random(template)
    path = tmp_path / "box.yml"
    refused = 0
    for _ in range(120):
        path.write_text(_spoilt(text, dice), encoding="utf-8")
        said = _said(path)
        refused += said is not None
        assert said is None or "box.yml:" in said
    assert refused > 40


def _said(path: Path) -> str | None:
    try:
        load(path)
    except BoxFileError as error:
        return error.message
    return None


def _spoilt(text: str, dice: random.Random) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        match dice.randrange(5):
            case 0:
                lines.insert(at, lines[dice.randrange(len(lines))])
            case 1:
                lines[at] = " " * dice.randrange(5) + lines[at].lstrip()
            case 2:
                cut = dice.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + dice.choice("\t:-[]{}&*!|>'\"%@`#,?：x9 ") + lines[at][cut:]
            case 3:
                lines[at] = (
                    lines[at].partition(":")[0] + ": " + dice.choice(("[]", "{}", "null", "-1", "on", "1e9", "x"))
                )
            case _:
                del lines[at]
                lines.append("guard: {ttl: 8h}")
    return "\n".join(lines) + "\n"
