"""`up` on a box that is as it should be: one command over one connection, and no playbook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.converge.progress import Board, Silent
from gpubox.down import down
from gpubox.remote.host import Host, Result
from gpubox.up import up

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_one_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box_file = tmp_path / "loc.yml"
    box_file.write_text("provider: local\n")
    board = Board(Silent())
    assert up("loc", board=board, box_file=box_file).changed
    try:
        commands: list[str] = []
        run = Host.run

        def counted(self: Host, command: str, **options: object) -> Result:
            commands.append(command)
            return run(self, command, **options)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(Host, "run", counted)
        monkeypatch.setattr(Host, "put", _unexpected)
        monkeypatch.setattr(Host, "stream", _unexpected)
        assert not up("loc", board=board, box_file=box_file).changed
        assert len(commands) == 1
        assert "fresh --digest" in commands[0]
        monkeypatch.undo()
    finally:
        monkeypatch.setenv("GPUBOX_HOME", str(tmp_path / "gpubox-home"))
        monkeypatch.setenv("GPUBOX_CACHE", str(tmp_path / "gpubox-cache"))
        down("loc", board=board, confirm=lambda _: True, results=tmp_path / "results")


def _unexpected(*_: object, **__: object) -> None:
    raise AssertionError("nothing is to be sent or followed")
