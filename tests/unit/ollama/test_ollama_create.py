"""A GGUF of one's own becomes a model of Ollama's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ollama_fetch.create import Wanted, create, gguf_files
from ollama_fetch.errors import FetchError
from ollama_fetch.progress import Progress
from ollama_fetch.server import serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.ollama.conftest import Sim


def gguf(path: Path, text: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" + text)
    return path


def test_it_is_linked_and_not_copied(sim: Sim, tmp_path: Path) -> None:
    file = gguf(tmp_path / "own/R1-Q4_K_M.gguf")
    store = sim.place / "models"
    with serving(sim.program, sim.env) as api:
        create(api, Wanted("r1", file.parent, store, "{{ .Prompt }}", {"num_ctx": 8192}), Progress())
        assert [item["name"] for item in api.get("/api/tags")["models"]] == ["r1:latest"]
    assert file.stat().st_nlink == 2
    manifest = json.loads((store / "manifests/registry.ollama.ai/library/r1/latest").read_text())
    assert (manifest["asked"]["template"], manifest["asked"]["parameters"]) == ("{{ .Prompt }}", {"num_ctx": 8192})


def test_from_another_disk_it_is_copied(sim: Sim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    file = gguf(tmp_path / "model.gguf")
    with serving(sim.program, sim.env) as api:
        create(api, Wanted("own/r1:q4", file, sim.place / "models", "", {}), Progress())
        assert [item["name"] for item in api.get("/api/tags")["models"]] == ["own/r1:q4"]
    assert file.stat().st_nlink == 1


def test_what_ollama_refuses_is_said(sim: Sim, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"<html>")
    with serving(sim.program, sim.env) as api, pytest.raises(Exception, match="unsupported content type"):
        create(api, Wanted("r1", file, sim.place / "models", "", {}), Progress())


def test_which_files_are_one_model(tmp_path: Path) -> None:
    parts = [gguf(tmp_path / f"split/R1-0000{number}-of-00003.gguf") for number in (1, 2, 3)]
    assert gguf_files(tmp_path / "split") == parts
    assert gguf_files(parts[0]) == parts
    one = gguf(tmp_path / "one.gguf")
    assert gguf_files(one) == [one]
    with pytest.raises(FetchError, match=r"several models .R1, one.gguf.: name one by `model.quant`"):
        gguf_files(tmp_path)
    parts[1].unlink()
    with pytest.raises(FetchError, match="2 of 3 parts"):
        gguf_files(tmp_path / "split")
    with pytest.raises(FetchError, match="no GGUF file"):
        gguf_files(tmp_path / "nothing")
