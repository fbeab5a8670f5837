"""A uv cache that all test boxes share, so that only the first one pays for a big environment.

A box's data disk is another mount than the cache, so uv cannot make hard links between them (EXDEV, even on one disk);
symbolic links it can.
"""

from __future__ import annotations

from box.testbox.base import cache_root
from box.testbox.options import Bind

_TARGET = "/opt/uv-cache"


def uv_cache_options() -> tuple[tuple[Bind, ...], dict[str, str]]:
    """Binds and files for `BoxOptions`."""
    directory = cache_root() / "uv-cache"
    directory.mkdir(exist_ok=True)
    bind = Bind(str(directory), _TARGET, writable=True)
    return (bind,), {"/etc/uv/uv.toml": f'cache-dir = "{_TARGET}"\nlink-mode = "symlink"\n'}
