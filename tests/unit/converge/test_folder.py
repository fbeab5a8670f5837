"""A folder that is changed on this machine is another model to `up`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpubox.boxfile.models import BoxFile, ModelSource
from gpubox.converge.variables import role_variables

if TYPE_CHECKING:
    from pathlib import Path


def revision(folder: Path) -> object:
    box = BoxFile(provider="attach", model=ModelSource(source="folder", folder=str(folder)))
    variables = role_variables(box, root="/r", data_dir="/d", facts=None, environ={})
    # Not fetched, but waited for like what is.
    assert variables["model_downloads"] == [{"name": folder.name, "source": "copied", "id": str(folder)}]
    return variables.get("gpubox_model_revision")


def test_every_change_of_a_folder_is_another_revision(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    assert revision(folder) is None
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "config.json").write_text("{}")
    seen = [revision(folder), revision(folder)]
    (folder / ".git").write_text("not of the model")
    assert seen == [revision(folder)] * 2
    os.utime(folder / "sub" / "config.json", (1, 1))
    seen.append(revision(folder))
    (folder / "model.safetensors").write_bytes(b"1")
    seen.append(revision(folder))
    (folder / "sub" / "config.json").unlink()
    seen.append(revision(folder))
    assert len(set(seen)) == 4
