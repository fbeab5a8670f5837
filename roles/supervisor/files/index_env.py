"""`index_env.py <settings`: prints the lines that tell uv and pip, by their environment, where packages come from.

stdin is what `pip config list` prints. `GPUBOX_INDEX_URL`, `GPUBOX_EXTRA_INDEX_URLS`, `GPUBOX_FIND_LINKS` (separated
by blanks) and `GPUBOX_NO_INDEX=1` go in its stead. Nothing of it gets onto a command line: an index URL may hold a
password. Runs with Python 3.8 too: an old one may have to fetch uv.
"""

from __future__ import annotations

import ast
import os
import shlex
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert")
_OURS = {
    "index-url": "GPUBOX_INDEX_URL",
    "extra-index-url": "GPUBOX_EXTRA_INDEX_URLS",
    "find-links": "GPUBOX_FIND_LINKS",
    "no-index": "GPUBOX_NO_INDEX",
}
# Later ones win, as in pip.
_SECTIONS = ("global", "install", ":env:")


def variables(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set; an empty one is to be unset. pip treats all its indexes alike, so uv is told to as well."""
    settings = _read(pip_config)
    found: dict[str, str] = {}
    if cert := " ".join(settings.pop("cert", [])):
        found.update(PIP_CERT=cert, SSL_CERT_FILE=environ.get("SSL_CERT_FILE") or cert)
    ours = {name: environ.get(variable, "").split() for name, variable in _OURS.items()}
    if any(ours.values()):
        settings = ours
        found.update(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL="", PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="")
    index, extra, links = (settings.get(name, []) for name in ("index-url", "extra-index-url", "find-links"))
    hosts = list(dict.fromkeys(settings.get("trusted-host", []) + _plain_hosts(index + extra + links)))
    if index:
        found.update(UV_DEFAULT_INDEX=index[0], PIP_INDEX_URL=index[0])
    if extra:
        found.update(UV_INDEX=" ".join(extra), PIP_EXTRA_INDEX_URL=" ".join(extra))
        found.update(UV_INDEX_STRATEGY="unsafe-best-match")
    if links:
        found.update(UV_FIND_LINKS=",".join(links), PIP_FIND_LINKS=" ".join(links))
    if "".join(settings.get("no-index", [])).lower() in {"1", "true", "yes", "on"}:
        found["PIP_NO_INDEX"] = "1"
    if hosts:
        found.update(UV_INSECURE_HOST=" ".join(hosts), PIP_TRUSTED_HOST=" ".join(hosts))
    return found


def _read(pip_config: str) -> dict[str, list[str]]:
    ranks: dict[str, int] = {}
    values: dict[str, list[str]] = {}
    for line in pip_config.splitlines():
        key, equals, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if not equals or name not in _NAMES or section not in _SECTIONS:
            continue
        rank = _SECTIONS.index(section)
        if rank >= ranks.get(name, 0):
            ranks[name], values[name] = rank, _text(value).split()
    return values


def _text(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _plain_hosts(urls: list[str]) -> list[str]:
    """Hosts of plain http URLs: whoever wrote `http` has decided to trust them."""
    parts = [urlsplit(url) for url in urls]
    return [part.netloc.rpartition("@")[2] for part in parts if part.scheme == "http"]


if __name__ == "__main__":
    for variable, content in variables(sys.stdin.read(), os.environ).items():
        sys.stdout.write(f"export {variable}={shlex.quote(content)}\n" if content else f"unset {variable}\n")
