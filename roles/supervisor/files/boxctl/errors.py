"""What `boxctl` says when it cannot do what it was asked to."""

from __future__ import annotations

import errno
from typing import Any

_FULL = {errno.ENOSPC, errno.EDQUOT}


class BoxctlError(Exception):
    """Something a person can mend: `message` says what happened, `hint` how to mend it; `more` goes out with it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, more: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.more = more or {}

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that is printed."""
        return {"error": self.message, "hint": self.hint, **self.more}


class UsageError(BoxctlError):
    """A name, a spec or an option is wrong."""

    exit_code = 2


def from_os_error(error: OSError, root: str) -> BoxctlError:
    """The same in words: a full disk and a read-only one are what happens on rented boxes."""
    place = str(error.filename or root)
    if error.errno in _FULL:
        hint = f"`df -h {root}` and `du -sh {root}/*` show what fills it; then try again"
        return BoxctlError(f"no space left on the disk of `{place}`", hint=hint)
    if error.errno == errno.EROFS:
        hint = f"look at `mount` and `dmesg`; or choose another `data_dir` than the one of `{root}`"
        return BoxctlError(f"the disk of `{place}` is read-only", hint=hint)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return BoxctlError(
            f"no permission for `{place}`", hint=f"`{root}` has to belong to the user that you log in as"
        )
    return BoxctlError(f"{error.strerror or error}: `{place}`", hint=f"`ls -ld {place}` may say more")
