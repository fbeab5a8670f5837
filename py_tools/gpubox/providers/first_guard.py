"""The guard that goes in with the call that rents: it works before, and without, anything that gpubox installs later.

A shell loop on the box. When its time is up it powers the box off, unless the guard that converge brings
(`roles/guard`) says in `MARKER` until when it answers for the box. A guard that has died no longer renews that.
"""

from __future__ import annotations

import shlex

# roles/guard has the same path.
STATE = "/var/lib/gpubox"
# Seconds since the epoch; up to then the first guard leaves the box to the full one.
MARKER = f"{STATE}/guard"
# The process of the loop, for the full guard's removal.
PID_FILE = f"{STATE}/first-guard.pid"

# `shutdown` on AutoDL is a shell script without `#!`: a shell runs such a file itself, other programs cannot.
# A request to go off can be lost, so it is made again.
_LOOP = """\
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p {state}; echo $$ > {pid_file}
sleep {seconds}
while :; do
until=$(cat {marker} 2>/dev/null) || until=0
if ! [ "$until" -gt "$(date +%s)" ]; then sync; shutdown -h now || /bin/sh /usr/bin/shutdown || poweroff; fi
sleep {look}
done
"""


def shell_guard(seconds: int, *, look: int = 60) -> str:
    """One line of POSIX sh, run as root, that returns at once and powers the box off `seconds` after that.

    It looks again every `look` seconds. Needs no systemd. For AutoDL's `start_command`; it counts from each start of
    the box where the provider runs it at each start.
    """
    loop = _LOOP.format(state=STATE, pid_file=PID_FILE, marker=MARKER, seconds=int(seconds), look=int(look))
    script = shlex.quote("; ".join(line for line in loop.splitlines() if line).replace("do; ", "do "))
    # A session of its own: it outlives whatever ran this line.
    return f"$(command -v setsid || command -v nohup) /bin/sh -c {script} </dev/null >/dev/null 2>&1 &"
