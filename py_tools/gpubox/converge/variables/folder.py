"""A model from a folder of this machine: what it is like now, so that `up` sees when it is another one."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.boxfile.models import ModelSource

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile


def variables(box: BoxFile) -> dict[str, object]:
    """`gpubox_model_revision`: SHA-256 of every file's name, size and time. The engine restarts when it changes.

    Nothing for any other source, and for a folder that is not there, which `gpubox.model_copy` tells of.
    """
    model = box.model
    if not isinstance(model, ModelSource) or model.source != "folder" or not model.folder:
        return {}
    folder = Path(model.folder).expanduser()
    rows = []
    for place, directories, names in os.walk(folder, followlinks=True):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.is_file():
                info = path.stat()
                rows.append([path.relative_to(folder).as_posix(), info.st_size, info.st_mtime_ns])
    return {"gpubox_model_revision": sha256(json.dumps(sorted(rows)).encode()).hexdigest()} if rows else {}
