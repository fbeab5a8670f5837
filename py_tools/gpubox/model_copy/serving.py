"""How a box gives away the files of one directory, and nothing else: a loop of `sh`, so that nothing is put there."""

from __future__ import annotations

import shlex

from gpubox.model_copy.on_box import HELLO


def serve_script(directory: str) -> str:
    """Answers each line `get FROM LENGTH PATH` with these bytes of the file; FROM counts from 1.

    No path leads out of `directory`, but a link that lies in it is followed, as an engine would.
    """
    return (
        f"cd -- {shlex.quote(directory)} || exit 9; echo {HELLO.decode().strip()}; "
        "while read -r word from length file; do "
        '[ "$word" = get ] || continue; '
        'case "/$file/" in */../*) exit 9;; esac; '
        'case "$from$length" in *[!0-9]*) exit 9;; esac; '
        'tail -c "+$from" -- "./$file" | head -c "$length"; '
        "done"
    )


def key_line(public: str, directory: str, mark: str, expiry: str) -> str:
    """A line of `authorized_keys`: this key may read `directory`, until `expiry` (YYYYMMDDHHMM, the box's own time).

    `public` is `TYPE BASE64 ...`; `mark` becomes the comment by which the line is found again.
    """
    kind, blob = public.split()[:2]
    command = serve_script(directory).replace("\\", "\\\\").replace('"', '\\"')
    return f'restrict,expiry-time="{expiry}",command="{command}" {kind} {blob} {mark}'
