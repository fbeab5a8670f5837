"""One box for the tests of a module, known to each test's own ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpubox.converge.progress import Board, Step
from keeping.box import ROOT, enroll, kept_box

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox


class _Silent:
    def begin(self, board: Board) -> None: ...
    def changed(self, board: Board, step: Step) -> None: ...
    def note(self, board: Board, text: str) -> None: ...
    def end(self, board: Board) -> None: ...


@pytest.fixture
def board() -> Board:
    """A board that nobody looks at."""
    return Board(_Silent())


@pytest.fixture(scope="module")
def shared(module_boxes: BoxFactory) -> TestBox:
    """The module's box."""
    return kept_box(module_boxes, port=0)


@pytest.fixture
def kept(shared: TestBox) -> TestBox:
    """The module's box as `mybox` of this test's ledger, with nothing in it that exists only there."""
    done = shared.exec(
        f"cd {ROOT} && rm -rf results/* logs/* converge/* services/* jobs snapshots hashes.jsonl keep.json /root/work"
    )
    assert done.exit_code == 0, done.stderr
    enroll(shared, "mybox", shared.port)
    return shared


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "backups"
