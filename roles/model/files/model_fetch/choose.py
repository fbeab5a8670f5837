"""Which files of a repository are wanted. Pure."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from model_fetch import quants
from model_fetch.errors import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_fetch.listing import RemoteFile

# The hub's own bookkeeping; no engine reads it, and on ModelScope it differs from Hugging Face's.
_BOOKKEEPING = (".gitattributes", ".gitignore", ".msc", ".mdl", ".mv")


def choose(
    files: Sequence[RemoteFile],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    quant: str = "",
    weights: bool = True,
) -> tuple[RemoteFile, ...]:
    """The wanted files, sorted by path. Globs are those of the hubs' own clients: `*` crosses directories.

    Raises `Asked` for a glob that matches nothing (naming what comes near), for a quant that is not offered, and when
    nothing is left.
    """
    wanted = [file for file in files if file.path not in _BOOKKEEPING]
    if include:
        _all_match(files, include, "include")
        wanted = [file for file in files if _matches(file.path, include)]
    if exclude:
        _all_match(files, exclude, "exclude")
        wanted = [file for file in wanted if not _matches(file.path, exclude)]
    if not weights:
        wanted = [file for file in wanted if not quants.is_weights(file.path)]
    if quant:
        wanted = quants.choose(wanted, quant)
    if not wanted:
        raise Asked("no file is left to fetch", "see `include` and `exclude`" if files else "the repository is empty")
    return tuple(sorted(wanted, key=lambda file: file.path))


def _matches(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(path, _glob(glob)) for glob in globs)


def _glob(glob: str) -> str:
    return f"{glob}*" if glob.endswith("/") else glob


def _all_match(files: Sequence[RemoteFile], globs: Sequence[str], field: str) -> None:
    for glob in globs:
        if not any(fnmatchcase(file.path, _glob(glob)) for file in files):
            raise Asked(f"`{field}` has `{glob}`, and no file matches it", near(glob, [file.path for file in files]))


def near(glob: str, paths: Sequence[str]) -> str:
    """What comes near a glob that matched nothing, as a hint."""
    if not paths:
        return "the repository is empty"
    directories = {f"{path.rpartition('/')[0]}/*" for path in paths if "/" in path}
    endings = {f"*.{path.rpartition('.')[2]}" for path in paths if "." in path.rpartition("/")[2]}
    names = {path.rpartition("/")[2] for path in paths}
    words = sorted({*paths, *directories, *endings, *names})
    lower = {word.lower(): word for word in words}
    found = [word for word in words if fnmatchcase(word.lower(), _glob(glob).lower())][:3]
    found += [lower[word] for word in difflib.get_close_matches(glob.lower(), lower, n=3, cutoff=0.6)]
    if found:
        return "near: " + ", ".join(f"`{word}`" for word in dict.fromkeys(found))
    some = ", ".join(f"`{word}`" for word in sorted(directories | {path for path in paths if "/" not in path})[:6])
    return f"the repository has {some}"
