"""Names that every system takes."""

from __future__ import annotations

import pytest

from gpubox.history.markdown import closed
from gpubox.history.names import Taken, safe


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("你好，世界", "你好，世界"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\nb\tc", "a b c"),
        ("ends with a dot. ", "ends with a dot"),
        ("CON", "_CON"),
        ("lpt1.txt", "_lpt1.txt"),
        ("...", "untitled"),
        ("\u202egnp.exe", "gnp.exe"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_a_title_becomes_a_name(title: str, name: str) -> None:
    assert safe(title) == name


def test_a_long_title_is_cut_between_characters() -> None:
    name = safe("诗" * 100)
    assert name == "诗" * 40


def test_names_that_only_some_disks_tell_apart_differ() -> None:
    taken = Taken()
    assert [taken.free("A", ".md"), taken.free("a", ".md"), taken.free("b", ".md")] == ["A.md", "a-2.md", "b.md"]


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("plain", ""),
        ("```\ncode\n```", ""),
        ("```\ncode", "\n```"),
        ("````md\n```\nx\n```", "\n````"),
        ("~~~\n```\n~~~", ""),
        ("```inline``` and more", ""),
        ("```\n```python", "\n```"),
    ],
)
def test_an_open_block_is_closed(text: str, added: str) -> None:
    assert closed(text) == text + added
