"""The environment of a local box's sessions: a fixed small set, not the caller's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.providers.local_box.layout import MARKER, BoxDir

if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# How this machine reaches the network, and whom it trusts there. Anything else of the caller's stays outside.
_NETWORK = (
    *(name for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
)


def session_environment(box: BoxDir, caller: Mapping[str, str], *, user: str, shell: str) -> dict[str, str]:
    """What every session of the box gets; of the caller's environment only proxies, CA files and uv's package index."""
    return {
        **{name: caller[name] for name in _NETWORK if caller.get(name)},
        "PATH": f"{python_directory(box)}:{_SYSTEM_PATH}",
        # The one UTF-8 locale that needs no package; Ansible refuses to start without UTF-8.
        "LANG": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
        "HOME": str(box.home),
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell,
        "TMPDIR": str(box.short_tmp),
        "UV_CACHE_DIR": str(uv_cache(box)),
        # uv links sources from its cache, so their bytecode stays right from box to box: vLLM's costs 13 CPU seconds.
        "PYTHONPYCACHEPREFIX": str(uv_cache(box).with_name("pycache")),
        MARKER: box.id,
    }


def python_directory(box: BoxDir) -> Path:
    """A directory whose `python3` is the interpreter that gpubox runs on, outside of any virtual environment.

    That is the interpreter's own where its `python3` is the same one; else `bin/` of the box, with a link to it.
    """
    own = _base_python()
    beside = own.parent / "python3"
    if beside.exists() and beside.resolve() == own.resolve():
        return own.parent
    link = box.bin / "python3"
    box.bin.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(own)
    return box.bin


def uv_cache(box: BoxDir) -> Path:
    """uv's cache, shared by all local boxes, on the box's own file system so that packages are linked, not copied."""
    cache = paths.cache_dir()
    if cache.stat().st_dev != box.path.stat().st_dev:
        cache = paths.data_dir() / "cache"
    return cache / "uv"


def _base_python() -> Path:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return base if base.exists() else Path(sys.executable).resolve()
