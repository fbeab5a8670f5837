"""`gpubox logs`: the log of a service, a job or the last converge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.reach import reach
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.status import converged

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord

# A quiet log is no dead link; ssh's keepalive finds that. One day, in seconds.
_QUIET = 86400.0


def logs(
    name: str,
    what: str,
    *,
    lines: int,
    follow: bool,
    say: Callable[[str], None],
    moved: Callable[[str], None] = lambda _words: None,
) -> None:
    """Say the last `lines` lines of the log of `what`, and with `follow` every line that comes.

    `moved` hears where a box is found that has moved.
    """
    arguments = [what, "--lines", str(lines), *(["--follow"] if follow else [])]

    def read(record: BoxRecord) -> None:
        with Host(Login.of(record)) as host:
            Boxctl(host, record.root or "").stream("logs", *arguments, on_line=say, silence=_QUIET)

    reach(converged(name), read, moved)
