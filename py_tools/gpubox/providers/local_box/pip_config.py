"""The person's own pip and uv configuration, read where pip reads it: a local box uses the same package index."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What says where packages come from and how they are reached; the rest of a pip.conf is none of a box's business.
_SINGLE = ("index-url", "no-index", "cert", "client-cert", "proxy", "timeout", "retries")
_LISTS = ("extra-index-url", "find-links", "trusted-host")


def own_configuration(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """pip's effective configuration for `pip install`, filled up from uv's variables.

    One list of values per key. Unreadable and malformed files are passed over, as they concern pip, not gpubox.
    """
    texts = []
    for path in configuration_files(environ):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return effective(texts, environ, here=Path.cwd())


def configuration_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files in the order in which it reads them; later ones win."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(d) / "pip" / "pip.conf" for d in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"))]
    files.append(Path("/etc/pip.conf"))
    if sys.platform == "darwin":
        files.append(Path("/Library/Application Support/pip/pip.conf"))
    if named is None or not Path(named).exists():
        library = home / "Library" / "Application Support" / "pip"
        user = library if sys.platform == "darwin" and library.is_dir() else config / "pip"
        files += [home / ".pip" / "pip.conf", user / "pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    if named:
        files.append(Path(named))
    return files


def effective(texts: Iterable[str], environ: Mapping[str, str], *, here: Path) -> dict[str, list[str]]:
    """Merge the texts of configuration files (later ones win) and `PIP_*` variables (which win over all files).

    Within the files `[install]` wins over `[global]`. Relative paths are taken from `here`.
    """
    by_section: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for text in texts:
        for section, values in _sections(text).items():
            by_section.setdefault(section, {}).update(values)
    merged = {**by_section["global"], **by_section["install"]}
    for key in (*_SINGLE, *_LISTS):
        if value := environ.get("PIP_" + key.replace("-", "_").upper()):
            merged[key] = value
    result = {key: [merged[key].strip()] for key in _SINGLE if key in merged}
    result |= {key: merged[key].split() for key in _LISTS if key in merged}
    _fill_from_uv(result, environ)
    return {key: [_absolute(key, value, here) for value in values] for key, values in result.items()}


def render(configuration: Mapping[str, list[str]]) -> str:
    """The text of a pip.conf; empty when there is nothing to say."""
    if not configuration:
        return ""
    lines = ["[global]"]
    for key, values in sorted(configuration.items()):
        lines.append(f"{key} = {values[0]}" if len(values) == 1 else f"{key} =")
        lines += [f"    {value}" for value in values if len(values) > 1]
    return "\n".join(lines) + "\n"


def _sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {
        section: {
            key.lower().replace("_", "-").removeprefix("--"): value for key, value in parser.items(section) if value
        }
        for section in parser.sections()
    }


def _fill_from_uv(result: dict[str, list[str]], environ: Mapping[str, str]) -> None:
    """What pip's own configuration leaves open is taken from uv's variables (the newer name of each wins)."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if index and not result.keys() & {"index-url", "no-index"}:
        result["index-url"] = [_without_name(index)]
    extra = [*environ.get("UV_INDEX", "").split(), *environ.get("UV_EXTRA_INDEX_URL", "").split()]
    if extra and "extra-index-url" not in result:
        result["extra-index-url"] = [_without_name(value) for value in extra]
    links = environ.get("UV_FIND_LINKS", "").replace(",", " ").split()
    if links and "find-links" not in result:
        result["find-links"] = links


def _without_name(value: str) -> str:
    """`corp=https://...` is how uv names an index; pip knows only the URL."""
    head, mark, tail = value.partition("=")
    return tail if mark and "/" not in head and "://" in tail else value


def _absolute(key: str, value: str, here: Path) -> str:
    if key not in {"find-links", "cert", "client-cert"} or "://" in value:
        return value
    return str(here / Path(value).expanduser())
