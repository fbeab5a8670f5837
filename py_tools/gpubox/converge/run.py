"""Starting a converge on a box and following it to its end, whatever happens to this machine or the link."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox.converge.events import Message, Story
from gpubox.errors import ConvergeFailed, Failed, LinkLost, RemoteCommandFailed, Unreachable
from gpubox.remote import explain
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.converge.bundle import Bundle
    from gpubox.remote.login import Login

# How long a lost link is tried again before the follower gives up (the box goes on all the same), in seconds.
PATIENCE = 1800.0
# The bootstrap speaks at each step; the longest one downloads some 40 MB, in seconds.
_BOOTSTRAP_SILENCE = 300.0
_BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)
# A link that is gone for longer may be a box that is off; then its provider is asked, in seconds.
_ASK_AFTER = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """A converge that runs on the box; `attached` when it ran already."""

    run: str
    attached: bool
    digest: str


def ensure_controller(
    host: Host,
    root: str,
    bundle: Bundle,
    *,
    python: str | None,
    python_env: dict[str, Any],
    on_line: Callable[[str], None],
) -> None:
    """Make the controller environment on the box, or find it there; its words go to `on_line`.

    `python` is the box's interpreter to make it from (None: the bootstrap looks for one); `python_env` is the box
    file's section (index_url, extra_index_urls, find_links, no_index).
    Raises `Failed` with the box's own explanation.
    """
    script = f"{root}/bundles/{bundle.sha256}/roles/supervisor/files/bootstrap.sh"
    settings = {
        "GPUBOX_PYTHON": python or "",
        "GPUBOX_INDEX_URL": python_env.get("index_url") or "",
        "GPUBOX_EXTRA_INDEX_URLS": " ".join(python_env.get("extra_index_urls") or []),
        "GPUBOX_FIND_LINKS": " ".join(python_env.get("find_links") or []),
        "GPUBOX_NO_INDEX": "1" if python_env.get("no_index") else "",
    }
    # An index URL may hold a password: it travels on stdin, since every user of the box sees command lines.
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items() if value)
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        on_line(line)

    for attempt, pause in enumerate(_BACKOFF, start=1):
        try:
            exit_code = host.stream(
                f'eval "$(cat)"; exec sh {shlex.quote(script)} {shlex.quote(root)} 2>&1 </dev/null',
                take,
                stdin=exports.encode(),
                silence=_BOOTSTRAP_SILENCE,
            )
            break
        except LinkLost:
            if attempt == len(_BACKOFF):
                raise
            time.sleep(pause)
    if exit_code != 0:
        raise _bootstrap_error(lines, exit_code)


def start(host: Host, root: str, bundle: Bundle, *, digest: str, variables: dict[str, Any], playbook: str) -> Started:
    """Start `playbook` on the box as a supervised job, or attach to the one that runs."""
    answer = Boxctl(host, root).call(
        "converge",
        "start",
        "--bundle",
        bundle.sha256,
        "--digest",
        digest,
        "--playbook",
        playbook,
        stdin=json.dumps(variables).encode(),
        # A second time it attaches to what the first time has started.
        retry=True,
    )
    return Started(str(answer["run"]), bool(answer["attached"]), str(answer["digest"]))


def follow(
    login: Login,
    root: str,
    run: str,
    *,
    on_change: Callable[[Story], None],
    on_link: Callable[[str | None], None],
    is_off: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE,
) -> Story:
    """Follow `run` to its end over as many connections as it takes; the finished story.

    `on_change` sees the story after every message; `on_link` gets a sentence when the link is lost and None when it
    is back; `is_off` says whether the box is known to be off. Raises `ConvergeFailed` when the run failed or was lost
    or the box is off, `Unreachable` after `patience` seconds without a link.
    """
    story = Story()
    lost_at: float | None = None
    attempt = 0

    def take(line: str) -> None:
        nonlocal lost_at, attempt
        if (message := Message.parse(line)) is None:
            return
        if lost_at is not None:
            lost_at, attempt = None, 0
            on_link(None)
        story.take(message)
        on_change(story)

    while story.end is None:
        try:
            with Host(login) as host:
                Boxctl(host, root).stream("follow", run, "--offset", str(story.offset), on_line=take)
            if story.end is None:
                raise LinkLost("the box stopped sending", where=login.name)  # noqa: TRY301 - one place handles a lost link
        except (LinkLost, Unreachable) as error:
            now = time.monotonic()
            lost_at = lost_at if lost_at is not None else now
            if now - lost_at > patience:
                raise Unreachable(
                    f"no link to the box for {patience / 60:.0f} minutes; the converge goes on there",
                    where=login.name,
                    hint=f"`gpubox watch {login.name}` follows it again",
                ) from error
            if now - lost_at > _ASK_AFTER and is_off():
                raise ConvergeFailed(
                    "the box went off while it was converged: by its guard, or in its provider's console",
                    where=login.name,
                    hint=f"`gpubox up {login.name}` powers it on again and goes on from there; it then bills again",
                ) from error
            on_link(f"{error.message}; the converge goes on on the box, trying again")
            time.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            attempt += 1
    _raise_unless_done(login.name, story)
    return story


def _raise_unless_done(name: str, story: Story) -> None:
    end = story.end or {}
    if end.get("state") == "done":
        return
    if end.get("state") == "lost":
        raise ConvergeFailed(
            "the converge was cut off on the box (was it switched off or out of memory?)",
            where=name,
            hint=f"`gpubox up {name}` goes on from there",
        )
    failure = story.failure
    if failure is None:
        message = str(end.get("error") or "the playbook ended before its first task")
        disk = explain.disk_hint(name, message)
        if disk is not None:
            message = f"the converge broke off: {message}"
        raise ConvergeFailed(message, where=name, hint=disk or f"`gpubox logs {name} converge` shows all of it")
    place = f"{name}: role {failure.role}, task `{failure.task}`" if failure.role else f"{name}: task `{failure.task}`"
    detail = failure.message.strip()
    if failure.stderr.strip() and failure.stderr.strip() not in detail:
        detail = f"{detail}\n{failure.stderr.strip()}"
    # A box does not know what it is called here.
    detail = re.sub(r"(`gpubox [^`]*)\bNAME\b", rf"\g<1>{name}", detail)
    # A service or job that a task waited for has a log of its own.
    about = re.match(r"(?:service|job) `([^`]+)`", detail)
    log = about.group(1) if about else "converge"
    hint = f"`gpubox logs {name} {log}` shows all of it; once that is mended, `gpubox up {name}` goes on from there"
    raise ConvergeFailed(detail, where=place, hint=explain.disk_hint(name, detail) or hint)


def _bootstrap_error(lines: list[str], exit_code: int) -> Failed:
    for line in reversed(lines):
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict) and data.get("error"):
            return Failed(str(data["error"]), hint=str(data["hint"]) if data.get("hint") else None)
    tail = "\n".join(lines[-8:])
    return RemoteCommandFailed(
        f"the controller environment could not be made (exit code {exit_code}):\n{tail}",
        hint="these are the box's own words; once that is mended, `gpubox up` goes on from there",
    )
