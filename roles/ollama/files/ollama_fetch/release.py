"""Ollama's release: fetched with resume, checked by its SHA-256, unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import platform
import posixpath
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ollama_fetch.errors import FetchError, TryAgainError
from ollama_fetch.patience import Patience

if TYPE_CHECKING:
    from pathlib import Path

    from ollama_fetch.progress import Progress

_BLOCK = 1 << 20
_SILENCE_S = 30.0
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
# Since 0.14 archives are packed with zstd, before that with gzip.
_SUFFIXES = ("tar.zst", "tgz")


class Release(NamedTuple):
    """Which release, from where. `sha256s`: of its archives by architecture, empty: what the release itself lists."""

    version: str
    url: str
    sha256s: dict[str, str]
    budget: float


def install(release: Release, place: Path, progress: Progress) -> Path:
    """Have `place/<version>/bin/ollama`; returns it. Raises `FetchError`."""
    target = place / release.version
    program = target / "bin/ollama"
    if program.exists():
        return program
    machine = platform.machine()
    arch = _ARCHES.get(machine)
    if arch is None:
        raise FetchError(f"Ollama is not built for {machine}")
    base = f"{release.url.rstrip('/')}/v{release.version}"
    archive = _fetch(base, arch, release, place / "downloads", progress)
    progress.say(f"unpacking Ollama {release.version}")
    partial = place / f".{release.version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _unpack(archive, partial)
    if not (partial / "bin/ollama").exists():
        raise FetchError(f"`{archive.name}` holds no bin/ollama")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    archive.unlink()
    return program


def _fetch(base: str, arch: str, release: Release, place: Path, progress: Progress) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    patience = Patience(release.budget)
    sums: dict[str, str] | None = None
    while True:
        try:
            if arch not in release.sha256s and sums is None:
                sums = listed(_text(f"{base}/sha256sum.txt"))
            return _archive(base, arch, release, sums or {}, place, patience, progress)
        except TryAgainError as error:
            progress.say(f"{error}; trying again")
            patience.again(error)


def listed(text: str) -> dict[str, str]:
    """Names and SHA-256 of a release's `sha256sum.txt`: `<sum>  ./name`."""
    rows = re.findall(r"^([0-9a-f]{64})\s+\*?(?:\./)?(\S+)$", text, re.MULTILINE)
    return {name: digest for digest, name in rows}


def _archive(
    base: str, arch: str, release: Release, sums: dict[str, str], place: Path, patience: Patience, progress: Progress
) -> Path:
    for suffix in _SUFFIXES:
        name = f"ollama-linux-{arch}.{suffix}"
        wanted = release.sha256s.get(arch) or sums.get(name)
        if wanted is None:
            continue
        # Named by its content: what is left of another release is never gone on with.
        path = place / f"{wanted[:16]}-{name}"
        if not path.exists() and not _download(f"{base}/{name}", path, patience, progress):
            continue
        if _digest(path) == wanted:
            return path
        path.unlink()
        raise FetchError(f"{base}/{name} is not what its SHA-256 ({wanted[:12]}...) says; is the mirror a true one?")
    raise FetchError(f"there is no Ollama {release.version} for {arch} at {base}")


def _download(url: str, path: Path, patience: Patience, progress: Progress) -> bool:
    """Fetch the rest of a file; False when there is none of that name. Raises `TryAgainError`, `FetchError`."""
    partial = path.with_name(f".{path.name}.partial")
    have = partial.stat().st_size if partial.exists() else 0
    try:
        with _open(url, have) as answer, partial.open("ab") as file:
            if have and answer.status != 206:
                file.truncate(0)
                have = 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                patience.moved(have)
                progress.bytes(f"downloading Ollama from {url.split('/')[2]}", have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # All of it was there already, or more than there is: the checksum tells.
            partial.rename(path)
            return True
        return _refused(url, error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(url, error) from error
    if have < total:
        raise TryAgainError(f"{url} broke off after {have} of {total} bytes")
    partial.rename(path)
    return True


def _text(url: str) -> str:
    try:
        with _open(url, 0) as answer:
            text: str = answer.read(_BLOCK).decode("utf-8", "replace")
            return text
    except urllib.error.HTTPError as error:
        if not _refused(url, error):
            raise FetchError(f"{url} is not there: is there such a release of Ollama?") from error
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _broken(url, error) from error


def _refused(url: str, error: urllib.error.HTTPError) -> bool:
    if error.code == 404:
        return False
    if error.code in (401, 403, 410):
        raise FetchError(f"{url} answers with HTTP {error.code}") from error
    raise TryAgainError(f"{url} answers with HTTP {error.code}") from error


def _broken(url: str, error: OSError | http.client.HTTPException | ValueError) -> Exception:
    if isinstance(error, OSError) and error.errno == 28:
        return FetchError("the disk is full")
    return TryAgainError(f"{url}: {getattr(error, 'reason', None) or error}")


def _open(url: str, have: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # urllib names no type for an answer
    headers = {"Range": f"bytes={have}-"} if have else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SILENCE_S)  # noqa: S310


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(archive: Path, target: Path) -> None:
    try:
        with archive.open("rb") as file:
            if archive.suffix != ".zst":
                return _extract(file, "r|gz", target)
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(file) as stream:
                return _extract(stream, "r|", target)
    except OSError as error:
        if error.errno == 28:
            raise FetchError("the disk is full") from error
        raise FetchError(f"`{archive.name}` cannot be unpacked: {error}") from error
    except tarfile.TarError as error:
        raise FetchError(f"`{archive.name}` cannot be unpacked: {error}") from error


def _extract(stream: BinaryIO, mode: str, target: Path) -> None:
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for member in archive:
            # Python before 3.11.4 has no filters, and Debian 12 has 3.11.2.
            for path in (member.name, _link(member)):
                if posixpath.normpath(path).startswith(("/", "..")):
                    raise FetchError(f"the archive holds `{path}`, which is outside of it")
            archive.extract(member, target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def _link(member: tarfile.TarInfo) -> str:
    """Where a link leads to, as seen from the archive's top; the member itself when it is none."""
    if member.issym():
        return posixpath.join(posixpath.dirname(member.name), member.linkname)
    return member.linkname if member.islnk() else member.name
