"""The web UI on this machine, for every box with `on: laptop`: one local box, kept in line with what they serve."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from gpubox import power, tunnels, web_ui, web_ui_engines
from gpubox.boxfile import WebUi, load
from gpubox.boxfile.web_ui import ADMIN_EMAIL, LOCAL_PORTS
from gpubox.errors import (
    BoxFileError,
    ConvergeFailed,
    Failed,
    GpuboxError,
    PreflightBlocked,
    Refused,
    Unreachable,
    UsageError,
)
from gpubox.ledger import Ledger
from gpubox.places import box_of
from gpubox.providers import provider
from gpubox.remote import ports
from gpubox.remote.tunnel import list_tunnels
from gpubox.status import status
from gpubox.up import Up, up
from gpubox.web_ui import Place
from gpubox.web_ui_engines import HOME_BOX
from gpubox.web_ui_member import member_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gpubox.boxfile import BoxFile
    from gpubox.converge.progress import Board
    from gpubox.remote.tunnel import OpenTunnel
    from gpubox.web_ui_engines import Member

# Another `up` may be installing the web UI on a slow line, in seconds.
_WAIT = 1800.0
_WHY = (
    "the web UI runs on this machine (box `laptop`), and only the engine is on `{name}`: accounts and chats stay here,"
    " whatever becomes of that box"
)


@dataclass(frozen=True, slots=True)
class Home:
    """The web UI on this machine as it serves a box. `made`: its first password was made up just now."""

    place: Place
    made: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class _Written:
    """The box file of `laptop`: the port that it names, and whether it says anything new."""

    port: int
    changed: bool


def asked(box: BoxFile | None) -> bool:
    """Whether a box file says `on: laptop`."""
    ui = box.web_ui_settings if box is not None else None
    return ui is not None and ui.on == "laptop"


def serve(name: str, *, board: Board, tunnel: OpenTunnel | None, answer: dict[str, Any]) -> Home:
    """Have the web UI on this machine list the models of the box `name`, whose tunnel is open; `answer`: its status.

    Sets it up, or starts it, where it does not run; when nothing has changed, that is one question. Raises `Refused`
    when its name is taken, and what `up` raises.
    """
    box = box_of(name)
    if box is None:
        raise UsageError(f"the box file of `{name}` is not there any more", where=name, hint=f"gpubox up {name}")
    web_ui_engines.refuse_a_stranger(name, box)
    with Ledger() as ledger:
        new = member_of(ledger.get(name), box, tunnel, answer)
    try:
        with _alone(board):
            before = web_ui_engines.members()
            taken = {member.port for member in before if member.port} | _promised()
            spare = [ports.next_free(new.port, taken | {new.port})] if new.port else []
            after = web_ui_engines.joined(before, new, spare)
            _say_new_names(after, new, board)
            done = _in_line(after, _write(after), board)
    except GpuboxError:
        board.note(f"`{name}` itself is up; what follows is about the web UI on this machine (box `{HOME_BOX}`)")
        raise
    return Home(_place(name, done), done.password_made, done.changed)


def open_ui(name: str, *, board: Board) -> Place | None:
    """`gpubox open` of a box with `on: laptop`: its tunnel, and the web UI, which a reboot of this machine has ended.

    None for a box whose web UI is not the one on this machine. A box that does not answer is said: what was chatted
    can be read without it. Raises what `tunnels.open_for` and `up` raise.
    """
    if name == HOME_BOX and _exists():
        return _started(name, board).place
    if not asked(box_of(name)):
        return None
    try:
        answer = status(name, board.note)
        with board.step("tunnels") as step:
            tunnel = tunnels.open_for(name, detach=True, say=board.note, answer=answer)
            step.say(tunnels.how_long(tunnel))
    except Unreachable as error:
        if not _exists():
            raise
        board.note(f"`{name}` does not answer, so its models are missing in the web UI: {error.message}")
        return _started(name, board).place
    return serve(name, board=board, tunnel=tunnel, answer=answer).place


def follow(name: str, *, board: Board, tunnel: OpenTunnel) -> None:
    """A tunnel was opened by hand: when the engine of a box with `on: laptop` has another port, the web UI hears it."""
    known = web_ui_engines.member(name)
    if known is not None and known.port not in {None, *(part.local_port for part in tunnel.forwards)}:
        serve(name, board=board, tunnel=tunnel, answer=status(name))


def leave(name: str, *, board: Board) -> None:
    """A box was taken down: the web UI on this machine lists its models no more. Whatever goes wrong is only said."""
    if web_ui_engines.member(name) is None:
        return
    try:
        with _alone(board):
            after = web_ui_engines.left(web_ui_engines.members(), name)
            written = _write(after)
            with Ledger() as ledger:
                record = ledger.find(HOME_BOX)
            if record is None or provider(record.provider).state(record) != "running":
                return
            _in_line(after, written, board)
    except GpuboxError as error:
        board.note(f"the web UI on this machine still lists `{name}`: {error.message}; `gpubox up {HOME_BOX}` mends it")


def line_of_down(name: str) -> str | None:
    """What `gpubox down` says of the web UI on this machine before it asks; None for a box without."""
    if web_ui_engines.member(name) is None:
        return None
    return (
        f"the web UI is on this machine (box `{HOME_BOX}`): its accounts and chats stay there, nothing of them is lost;"
        f" the models of `{name}` leave its list"
    )


def _started(name: str, board: Board) -> Home:
    """The web UI itself, whatever is up behind it."""
    with _alone(board):
        members = web_ui_engines.members()
        done = _in_line(members, _write(members), board)
    return Home(_place(name, done), done.password_made, done.changed)


def _exists() -> bool:
    with Ledger() as ledger:
        record = ledger.find(HOME_BOX)
    return record is not None and web_ui_engines.is_ours(record)


def _in_line(of: Sequence[Member], written: _Written, board: Board) -> Up:
    """Bring the box `laptop` to its box file; from another port on when somebody else has taken its own."""
    if not written.changed and _is_off():
        # Quicker than a playbook, after which nothing is to be done, most of the time.
        with contextlib.suppress(Failed):
            power.start(HOME_BOX, board=board)
    try:
        return up(HOME_BOX, board=board, box_file=web_ui_engines.box_file())
    except (PreflightBlocked, ConvergeFailed):
        if not _is_taken(written.port):
            raise
        other = _write(of, not_at=written.port).port
        board.note(f"port {written.port} of this machine is somebody else's; the web UI moves to {other}")
        return up(HOME_BOX, board=board, box_file=web_ui_engines.box_file())


def _is_off() -> bool:
    """Whether the box of the web UI was set up, and does not run: this machine was started anew."""
    with Ledger() as ledger:
        record = ledger.find(HOME_BOX)
    return record is not None and record.root is not None and provider(record.provider).state(record) == "stopped"


def _is_taken(port: int) -> bool:
    """Whether a program that is not the web UI listens there."""
    if ports.is_free(port):
        return False
    try:
        services = status(HOME_BOX)["services"]
    except GpuboxError:
        return True
    return all(item["name"] != tunnels.WEB_UI or item["state"] != "running" for item in services)


def _write(of: Sequence[Member], *, not_at: int | None = None) -> _Written:
    """Write what the web UI is made from.

    Its port and who signs in first stay as they are for as long as they can: chats belong to accounts, and people
    keep bookmarks.
    """
    path = web_ui_engines.box_file()
    before = _settings(path)
    email = before.admin_email if before else of[0].admin_email if of else ADMIN_EMAIL
    wish = of[0].web_ui_port if of else before.port if before else WebUi().port
    port = _port(wish, before.port if before else None, not_at)
    web_ui_engines.write(of)
    text = web_ui_engines.box_file_text(of, port=port, admin_email=email)
    changed = before is None or path.read_text(encoding="utf-8") != text
    if changed:
        path.write_text(text, encoding="utf-8")
    return _Written(port, changed)


def _settings(path: Path) -> WebUi | None:
    """What the box file of `laptop` says so far; one that somebody has spoilt is written anew."""
    with contextlib.suppress(BoxFileError):
        return load(path).web_ui_settings if path.exists() else None
    return None


def _port(wish: int, before: int | None, not_at: int | None) -> int:
    """The port that it has, when that is near its `wish` and not taken; else the first free one from `wish` on."""
    among = range(wish, wish + LOCAL_PORTS)
    if before is not None and before in among and before != not_at and (ports.is_free(before) or _runs()):
        return before
    return ports.next_free(wish, _promised() | ({not_at} if not_at else set()), among=LOCAL_PORTS)


def _runs() -> bool:
    with Ledger() as ledger:
        record = ledger.find(HOME_BOX)
    return record is not None and provider(record.provider).state(record) == "running"


def _promised() -> set[int]:
    """Ports of tunnels, also of those that are just reconnecting."""
    return {forward.local_port for tunnel in list_tunnels() for forward in tunnel.forwards}


def _say_new_names(of: Sequence[Member], new: Member, board: Board) -> None:
    """An agent that is called otherwise than its box file says."""
    for given, agent in next(member for member in of if member.box == new.box).agents.items():
        if agent["name"] != given:
            board.note(f"the agent `{given}` is `{agent['name']}` in the web UI: another box has one of that name")


def _place(name: str, done: Up) -> Place:
    ui = (done.box.web_ui_settings if done.box else None) or WebUi()
    why = web_ui.where_and_why(HOME_BOX) if name == HOME_BOX else _WHY.format(name=name)
    return Place(HOME_BOX, f"http://localhost:{ui.port}", ui.admin_email, "laptop", why)


@contextlib.contextmanager
def _alone(board: Board) -> Iterator[None]:
    """One at a time: what two `up`s of two boxes want is brought about by one after the other."""
    lock = FileLock(web_ui_engines.lock_file())
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with board.step("another gpubox works on the web UI of this machine"):
            try:
                lock.acquire(timeout=_WAIT)
            except Timeout:
                raise Refused(
                    f"another gpubox has been working on the web UI of this machine for {_WAIT / 60:.0f} minutes",
                    where=HOME_BOX,
                    hint=f"`gpubox watch {HOME_BOX}` follows it",
                ) from None
    try:
        yield
    finally:
        lock.release()
