"""Fetch the sources of one tag with all submodules, and see that they are what was pinned."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Trouble

if TYPE_CHECKING:
    from .progress import Progress

_GITHUB = "https://github.com/"
_TRIES = 5


@dataclass(frozen=True)
class Wish:
    """What is to be fetched, where to. `mirror` stands before or in the place of https://github.com/."""

    url: str
    tag: str
    commit: str
    path: Path
    mirror: str = ""
    submodules: bool = True
    seconds_between: float = 5.0

    @classmethod
    def read(cls, text: str) -> Wish:
        """The wish from its JSON text."""
        values = json.loads(text)
        return cls(**{**values, "path": Path(values["path"])})


def fetch(wish: Wish, progress: Progress) -> None:
    """Bring the sources to `wish.path`. What an interrupted fetch left there is used. Raises `Trouble`."""
    if shutil.which("git") is None:
        raise Trouble("there is no git on the box; on the box: `apt-get update && apt-get install -y git`")
    if not (wish.path / ".git").is_dir():
        shutil.rmtree(wish.path, ignore_errors=True)
        wish.path.mkdir(parents=True)
        _git(wish, "init", "--quiet")
    if _said(wish, "rev-parse", "--verify", "--quiet", "HEAD") != wish.commit:
        progress.tell(f"fetching KTransformers {wish.tag}")
        _patiently(wish, "fetch", "--quiet", "--depth", "1", wish.url, f"refs/tags/{wish.tag}")
        got = _said(wish, "rev-parse", "FETCH_HEAD^{commit}")
        if got != wish.commit:
            raise Trouble(
                f"{wish.url} has {got[:12]} as {wish.tag}, and {wish.commit[:12]} is pinned: these are other sources; "
                "set `ktransformers.git_url` to https://github.com/kvcache-ai/ktransformers.git or a true mirror of it"
            )
        _git(wish, "checkout", "--quiet", "--force", wish.commit)
    if wish.submodules:
        progress.tell("fetching the submodules")
        _patiently(wish, "submodule", "update", "--init", "--recursive", "--depth", "1", "--jobs", "4")
        check(wish)
    progress.tell(f"the sources of {wish.tag} are there", done=1, total=1, unit="sources")


def check(wish: Wish) -> None:
    """Every submodule is there, at the commit that the tag names. Raises `Trouble`."""
    missing = not_there(_said(wish, "submodule", "status", "--recursive"))
    if missing:
        raise Trouble(
            f"the submodules {', '.join(missing)} of {wish.tag} are not there, and the build would fail in the middle; "
            f"delete `{wish.path}` on the box and try again"
        )


def not_there(status: str) -> list[str]:
    """Paths that `git submodule status` marks as not initialised (-), at another commit (+) or in conflict (U)."""
    lines = (re.match(r"([-+U])[0-9a-f]+ (\S+)", line) for line in status.splitlines())
    return [found[2] for found in lines if found]


def rewrites(mirror: str) -> list[str]:
    """Options that send every GitHub address, submodules' too, to the mirror.

    `https://mirror/https://github.com/` (a proxy that takes whole addresses) and `https://mirror/` both work.
    """
    return ["-c", f"url.{mirror.rstrip('/')}/.insteadOf={_GITHUB}"] if mirror else []


def _patiently(wish: Wish, *words: str) -> None:
    """Try again after a cut: what came is kept. A line that stays under 1 kB/s for a minute counts as cut."""
    for attempt in range(1, _TRIES + 1):
        done = _run(wish, "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60", *words)
        if done.returncode == 0:
            return
        if attempt < _TRIES:
            time.sleep(wish.seconds_between * attempt)
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
    raise Trouble(
        f"`git {words[0]}` failed {_TRIES} times: {last.strip()}; "
        "where GitHub is slow, set `ktransformers.git_mirror` to a mirror that the box reaches"
    )


def _git(wish: Wish, *words: str) -> None:
    done = _run(wish, *words)
    if done.returncode != 0:
        raise Trouble(f"`git {words[0]}` failed in `{wish.path}`: {done.stderr.strip()[-300:]}")


def _said(wish: Wish, *words: str) -> str:
    return _run(wish, *words).stdout.rstrip("\n")


def _run(wish: Wish, *words: str) -> subprocess.CompletedProcess[str]:
    # A question for a password would wait for ever: nobody is there to answer.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    argv = ["git", "-C", str(wish.path), *rewrites(wish.mirror), *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
