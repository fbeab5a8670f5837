"""`up` on a box that is as it should be: one question, and no playbook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.converge.progress import Board, Silent
from gpubox.down import down
from gpubox.remote.early import EarlyQuestion
from gpubox.remote.host import Host
from gpubox.up import up

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gpubox.remote.login import Login


def test_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box_file = tmp_path / "loc.yml"
    box_file.write_text("provider: local\n")
    board = Board(Silent())
    assert up("loc", board=board, box_file=box_file).changed
    try:
        asked: list[str] = []

        class Counted(EarlyQuestion):
            def __init__(self, login: Login, command: str) -> None:
                asked.append(command)
                super().__init__(login, command)

        monkeypatch.setattr("gpubox.up.EarlyQuestion", Counted)
        with monkeypatch.context() as alone:
            for method in ("run", "put", "stream"):
                alone.setattr(Host, method, _unexpected)
            assert not up("loc", board=board, box_file=box_file).changed
        assert len(asked) == 1
        assert "fresh --digest" in asked[0]

        # Without an answer to it the box is asked once more, over the connection whose errors are explained.
        monkeypatch.setattr(Counted, "answer", lambda *_, **__: None)
        assert not up("loc", board=board, box_file=box_file).changed
        monkeypatch.undo()
    finally:
        monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "gpubox-home"))
        monkeypatch.setenv("GPUBOX_CACHE", str(tmp_path / "gpubox-cache"))
        down("loc", board=board, confirm=lambda _: True, results=tmp_path / "results", to=tmp_path / "backups")


def _unexpected(*_: object, **__: object) -> None:
    raise AssertionError("nothing is to be sent or followed")
