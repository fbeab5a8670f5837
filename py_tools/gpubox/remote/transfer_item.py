"""A file that is to come home, and how it is written here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.errors import TransferFailed

if TYPE_CHECKING:
    from gpubox.remote.transfer_part import Part

ROTTEN = "its bytes have changed on the box and its times have not: the disk there may be failing"


@dataclass(slots=True, eq=False)
class Item:
    """A file that is to come home: from `source` on the box to `target`; its `sha256` where the box has told it.

    `state`: "coming"; "home" (proven, `size`, `sha256` and `mtime_ns` are those of what came); "gone" from the box;
    "changed" while it was read (`own` is the SHA-256 of what came); or "failed", for `reason`. `part` is where a big
    one grows. `version` is what it was when the box told its hash; empty for a copy that was made for us. (`target` is
    text: of thousands of files a `Path` costs more than the writing.)
    """

    source: str
    target: str
    part: Path
    size: int
    mtime_ns: int
    sha256: str | None = None
    version: tuple[int, ...] = ()
    state: str = "coming"
    reason: str = ""
    own: str = ""
    growing: Part | None = None

    def settle(self, state: str, reason: str = "") -> None:
        """Its fate is known."""
        self.state, self.reason = state, reason
        if self.growing is not None:
            self.growing.close()

    def discard(self) -> None:
        """Forget what came of it."""
        for path in (self.part, self.part.with_name(f"{self.part.name}.segments")):
            path.unlink(missing_ok=True)


def cannot_write(name: str, place: Path, error: OSError) -> TransferFailed:
    """The error of a disk of this machine."""
    return TransferFailed(
        f"cannot write below `{place.parent}`: {error.strerror or error}",
        where=name,
        hint="make room, or choose another directory; what arrived is kept, nothing on the box was changed",
    )


def land(target: str, data: bytes | memoryview, mtime_ns: int) -> None:
    """Write a small file under its final name; never into one that is there, which may be linked to an older backup."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for _ in range(3):
        try:
            handle = os.open(target, flags, 0o400)
            break
        except FileNotFoundError:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            Path(target).unlink()
    else:
        handle = os.open(target, flags, 0o400)
    try:
        wrote = os.write(handle, data)
        while wrote < len(data):
            wrote += os.write(handle, memoryview(data)[wrote:])
        os.utime(handle, ns=(mtime_ns, mtime_ns))
    except OSError:
        Path(target).unlink()
        raise
    finally:
        os.close(handle)
