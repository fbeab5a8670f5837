"""Finding a source archive where packages come from: directories and pages of links, then package indexes."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from wheelhouse.check import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PYPI = "https://pypi.org/simple"
_LINK = re.compile(r"""<a\s[^>]*href=["']([^"'#]+)(?:#sha256=([0-9a-f]{64}))?[^"']*["']""", re.IGNORECASE)
_TRIES = 5
_PIECE = 1 << 18


def places(settings: Mapping[str, list[str]], environ: Mapping[str, str], package: str) -> list[str]:
    """Pages and directories that may name files of a package, as `make_env.index_settings` found them."""
    links = [*settings.get("find-links", []), *environ.get("UV_FIND_LINKS", "").split()]
    own = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or PYPI
    indexes = [*(settings.get("index-url") or [own]), *settings.get("extra-index-url", [])]
    indexes += [word.rpartition("=")[2] for word in environ.get("UV_INDEX", "").split()]
    if "no-index" in settings:
        indexes = []
    return [*links, *(f"{index.rstrip('/')}/{package}/" for index in indexes)]


def fetch(name: str, sha256: str, wheres: list[str], target: Path, on_bytes: Callable[[int, int], None]) -> None:
    """Bring the file `name` to `target`, proven by `sha256` (or by what the index says). Raises `Trouble`."""
    troubles = []
    for where in wheres:
        try:
            local = Path(where.removeprefix("file://"))
            if local.is_dir() and (local / name).is_file():
                url, stated = (local / name).absolute().as_uri(), ""
            elif "://" in where:
                url, stated = _on_page(where, name)
            else:
                continue
            download(url, target, sha256 or stated, on_bytes)
        except (OSError, http.client.HTTPException, Trouble) as error:
            troubles.append(f"{shown(where)}: {getattr(error, 'reason', error)}")
        else:
            return
    raise Trouble(
        f"`{name}` is in none of the places where packages come from ({'; '.join(troubles) or 'there are none'}); "
        "set `python_env.index_url` in the box file to an index that the box reaches"
    )


def download(url: str, target: Path, sha256: str, on_bytes: Callable[[int, int], None]) -> None:
    """A file over a line that may break: what came stays. Raises `Trouble` or `OSError`; 404 at once."""
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _more(url, part, on_bytes)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416:  # it was whole
                break
            if error.code < 500:
                raise
            failures += 1
        except (OSError, http.client.HTTPException) as error:
            failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
            if failures >= _TRIES:
                raise Trouble(f"{shown(url)}: {error}") from error
        if failures >= _TRIES:
            raise Trouble(f"{shown(url)}: the server fails again and again")
        time.sleep(min(2**failures, 30))
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and found != sha256:
        part.unlink()
        raise Trouble(
            f"what came from {shown(url)} is not what it should be (SHA-256 {found[:12]}..., not {sha256[:12]}...)"
        )
    part.replace(target)


def shown(url: str) -> str:
    """A URL without its password."""
    return re.sub(r"//[^/@]*@", "//", url)


def _more(url: str, part: Path, on_bytes: Callable[[int, int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    with _open(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        partial = getattr(answer, "status", None) == 206 or answer.headers.get("Content-Range")
        have = have if partial else 0
        left = answer.headers.get("Content-Length")
        total = have + int(left) if left else 0
        with part.open("ab" if have else "wb") as out:
            while piece := answer.read(_PIECE):
                out.write(piece)
                have += len(piece)
                on_bytes(have, total)
    if total and have < total:
        raise OSError(f"the line was cut after {have} of {total} bytes")


def _on_page(page: str, name: str) -> tuple[str, str]:
    with _open(page, {"Accept": "text/html"}) as answer:
        text = answer.read().decode("utf-8", errors="replace")
    for href, sha256 in _LINK.findall(text):
        url = urllib.parse.urljoin(page, html.unescape(href))
        if urllib.parse.unquote(url.rpartition("/")[2]) == name:
            return url, sha256
    raise Trouble(f"it has no `{name}`")


def _open(url: str, headers: dict[str, str]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - urllib's own mixture
    parts = urllib.parse.urlsplit(url)
    if parts.username:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers = {**headers, "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    bundle = os.environ.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=bundle) if bundle and parts.scheme == "https" else None
    request = urllib.request.Request(url, headers={"User-Agent": "gpubox", **headers})  # noqa: S310
    return urllib.request.urlopen(request, timeout=30, context=context)  # noqa: S310 - file: is one of the ways
