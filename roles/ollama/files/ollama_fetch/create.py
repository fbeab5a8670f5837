"""A model of one's own: GGUF files that lie on the box, as a model of Ollama's."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ollama_fetch.errors import FetchError

if TYPE_CHECKING:
    from ollama_fetch.api import Api
    from ollama_fetch.progress import Progress

_BLOCK = 1 << 22
_SPLIT = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
# A graph of 671 billion parameters takes minutes to be looked through.
_SILENCE_S = 1800.0


class Wanted(NamedTuple):
    """`path`: a GGUF file, or a directory with one model in GGUF. `store`: OLLAMA_MODELS."""

    name: str
    path: Path
    store: Path
    template: str
    parameters: dict[str, Any]


def create(api: Api, wanted: Wanted, progress: Progress) -> None:
    """Have `wanted.name` in Ollama. Raises `FetchError`, and `TryAgainError` when the server goes away."""
    files = {}
    found = gguf_files(wanted.path)
    total, done = sum(path.stat().st_size for path in found), 0
    for path in found:
        digest = "sha256:" + _digest(path, f"reading {path.name}", done, total, progress)
        done += path.stat().st_size
        if not api.has_blob(digest):
            _link(path, wanted.store / "blobs" / digest.replace(":", "-"))
        if not api.has_blob(digest):
            progress.say(f"copying {path.name} into Ollama's store")
            api.put_blob(digest, path)
        files[path.name] = digest
    body: dict[str, Any] = {"model": wanted.name, "files": files}
    if wanted.template:
        body["template"] = wanted.template
    if wanted.parameters:
        body["parameters"] = wanted.parameters
    status = ""
    for event in api.stream("/api/create", body, lambda _: _SILENCE_S):
        status = str(event.get("status") or "")
        progress.say(f"{wanted.name}: {status}")
    if status != "success":
        raise FetchError(f"Ollama did not finish making `{wanted.name}`; its last words: {status or 'none'}")


def gguf_files(path: Path) -> list[Path]:
    """The files of the one model below `path`, in order. Raises `FetchError` when there is none, or several."""
    if path.is_file():
        split = _SPLIT.search(path.name)
        if not split:
            return [path]
        found = sorted(path.parent.glob(f"{path.name[: split.start()]}-*-of-{split[1]}.gguf"))
    else:
        found = sorted(path.rglob("*.gguf"))
    models = {_SPLIT.sub("", str(file)) for file in found}
    if not found:
        raise FetchError(f"there is no GGUF file in `{path}`; Ollama serves GGUF")
    if len(models) > 1:
        names = ", ".join(sorted(str(Path(model).name) for model in models))
        raise FetchError(f"`{path}` holds several models ({names}): name one by `model.quant`, or by the file's path")
    if (split := _SPLIT.search(found[0].name)) and len(found) != int(split[1]):
        raise FetchError(f"`{path}` holds {len(found)} of {int(split[1])} parts of {found[0].name}")
    return found


def _link(path: Path, blob: Path) -> None:
    """The file as a blob of the store, without a second copy where that is possible.

    A blob is a file named by its SHA-256. Ollama opens blobs for reading only.
    """
    blob.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        os.link(path.resolve(), blob)


def _digest(path: Path, label: str, before: int, total: int, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            before += len(block)
            progress.bytes(label, before, total)
    return digest.hexdigest()
