"""`gpubox up`: make a box what its box file says, and follow that to its end."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpubox import guard, preflight, preparing, web_ui, web_ui_engines, wheelhouse
from gpubox.boxfile import BoxFile, load, not_yet
from gpubox.converge import bundle as bundles
from gpubox.converge import run as runs
from gpubox.converge.variables import digest as digest_of
from gpubox.converge.variables import role_variables
from gpubox.errors import (
    GpuboxError,
    HostKeyChanged,
    NotYet,
    PreflightBlocked,
    RemoteCommandFailed,
    Unreachable,
    UsageError,
)
from gpubox.ledger import BoxRecord, Ledger
from gpubox.model_copy.beside import beside
from gpubox.places import find_box_file
from gpubox.providers import provider
from gpubox.reach import reach
from gpubox.releasing import bill
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.early import EarlyQuestion
from gpubox.remote.facts import Facts, read_facts
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.renting import met, rent, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from pathlib import Path

    from gpubox.converge.events import Story
    from gpubox.converge.progress import Board, Step

_PLAYBOOK, _PREPARE = "up.yml", "prepare.yml"
# The login and the health of every service; a box that needs longer is asked once more, with every error explained.
_ANSWER = 20.0


@dataclass(frozen=True, slots=True)
class Up:
    """What `up` came to: the box, what it runs, and whether anything had to be done. `seconds` of the converge.

    `password_made`: the web UI's first password was made up for this, and nobody has seen it yet.
    """

    record: BoxRecord
    status: dict[str, Any]
    changed: bool
    story: Story | None = None
    warnings: tuple[str, ...] = field(default=())
    box: BoxFile | None = None
    password_made: bool = False


def up(
    name: str, *, board: Board, box_file: Path | None = None, full: bool = False, wait: timedelta | None = None
) -> Up:
    """Bring the box `name` to its box file; when nothing is to be done, that is one round trip.

    `full` runs the playbook even then. A converge that runs already is attached to. `wait`: for how long a provider
    that has no such box, or only dearer ones than `max_price`, is asked again. Raises `BoxFileError`, `NotYet`,
    `UnknownBox`, `NoStock`, `Refused`, `PreflightBlocked`, `ConvergeFailed`, and what the link to the box raises.
    """
    path = find_box_file(name, box_file)
    # Shared: another `up` attaches to the same converge, but nobody takes the box down under our feet.
    with Ledger() as ledger, ledger.lock(name, shared=True), contextlib.ExitStack() as held:
        held.enter_context(_bills_on(ledger, name, board))
        known = ledger.find(name)
        early = held.enter_context(_ask_early(known)) if known and known.root and met(known) and not full else None
        box = load(path)
        refuse_what_is_not_yet(box, path)
        web_ui_engines.refuse_a_stranger(name, box)
        bundle = bundles.build()
        record = rent(ledger, name, box, path, board, wait=wait)
        made = web_ui.have_secrets(name, box)
        record = _prepared(ledger, record, box, bundle, board, wait)
        try:
            done = _bring(ledger, record, box, bundle, board, full=full, early=early)
        # The port of a box that has moved may be another box's by now, which shows another key.
        except (Unreachable, HostKeyChanged):
            source = provider(record.provider)
            match state_of(record, source):
                case "stopped":
                    # Behind the ledger's back: by its guard, in a console, or this machine was started anew.
                    ledger.update(name, state="stopped")
                case "running" if source.bills:
                    # It answers elsewhere since somebody restarted it, or it lets in the address that we had before.
                    ledger.update(name, host=None, port=None)
                case _:
                    raise
            again = rent(ledger, name, box, path, board, wait=wait)
            done = _bring(ledger, again, box, bundle, board, full=full)
        return replace(done, box=box, password_made=made)


@contextlib.contextmanager
def _bills_on(ledger: Ledger, name: str, board: Board) -> Iterator[None]:
    """Whatever goes wrong meanwhile: a box that costs money does so until somebody ends it, and that is said."""
    try:
        yield
    except GpuboxError:
        record = ledger.find(name)
        if record is not None and record.state == "running" and provider(record.provider).bills:
            board.note(f"`{name}` runs on and bills {bill(record)}; `gpubox down {name}` ends that")
        raise


def _bring(
    ledger: Ledger,
    record: BoxRecord,
    box: BoxFile,
    bundle: bundles.Bundle,
    board: Board,
    *,
    full: bool,
    early: EarlyQuestion | None = None,
) -> Up:
    if not full and (status := _fresh(record, box, bundle, early)) is not None:
        with board.step("nothing to do") as step:
            step.state = "kept"
        return Up(ledger.update(record.name, digest=status["digest"]), status, changed=False)
    while (done := _converge(ledger, record, box, bundle, board)) is None:
        board.note("the run that was under way had other wishes; converging to these now")
    return done


def _converge(ledger: Ledger, record: BoxRecord, box: BoxFile, bundle: bundles.Bundle, board: Board) -> Up | None:
    """Prepare the box, run the playbook and follow it; None when the run that was under way had another digest."""
    name, login = record.name, Login.of(record)
    with contextlib.ExitStack() as copying:
        with Host(login) as host:
            with board.step("facts and preflight") as step:
                record, facts, findings = survey(host, record, box)
                step.say(summary(facts))
                if findings.blockers:
                    raise blocked(name, findings)
            root = _root(record)
            _deliver(host, root, facts, box, bundle, board)
            variables, digest = wanted(record, box, bundle)
            _send(host, root, variables, board)
            copying.enter_context(beside(host, box, root=root, board=board))
            started = runs.start(host, root, bundle, digest=digest, variables=variables, playbook=_PLAYBOOK)
        story = _follow(record, root, started, board)
    if started.digest != digest:
        return None
    with Host(login) as host:
        record = ledger.update(name, digest=digest, state="running")
        ledger.audit(name, "converge", "done", {"run": started.run, "changed": story.changed})
        status = Boxctl(host, root).call("status", retry=True)
    warnings = [item.message for item in findings.warnings] + story.warnings
    view = status.get("guard")
    warnings += [words for words in (guard.settle(ledger, name, view), guard.weakness(name, view)) if words]
    return Up(ledger.get(name), status, changed=True, story=story, warnings=tuple(warnings))


def _deliver(host: Host, root: str, facts: Facts, box: BoxFile, bundle: bundles.Bundle, board: Board) -> None:
    """Put on the box what runs a playbook there."""
    with board.step("bundle") as step:
        sent = bundles.upload(host, root, bundle)
        step.say(f"{bundle.size // 1024} KiB sent" if sent else "on the box already")
    with board.step("controller environment") as step:
        python = preflight.controller_python(facts)
        runs.ensure_controller(
            host,
            root,
            bundle,
            python=python.path if python is not None else None,
            python_env=box.python_env.model_dump(exclude_none=True, mode="json"),
            on_line=_last_words(step),
        )


def _send(host: Host, root: str, variables: dict[str, Any], board: Board) -> None:
    """Put on the box what was built on another one of ours."""
    if fitting := wheelhouse.fitting(variables, wheelhouse.wheels()):
        with board.step("wheels that were built before") as step:
            sent = wheelhouse.send(host, root, fitting)
            step.say(", ".join(f"{wheel.package} {wheel.version}" for wheel in sent) or "on the box already")


def _prepared(
    ledger: Ledger, record: BoxRecord, box: BoxFile, bundle: bundles.Bundle, board: Board, wait: timedelta | None
) -> BoxRecord:
    """The box with its GPU; a new one is first prepared without, where the box file says so."""
    cut_off = preparing.progress(ledger.audits(record.name)) == "begun"
    if box.prepare is None and cut_off:
        return preparing.with_gpu(ledger, record, provider(record.provider), board, wait=wait)
    if box.prepare is None or (record.digest is not None and not cut_off):
        return record

    def look(record: BoxRecord) -> BoxRecord:
        with Host(Login.of(record)) as host, board.step("facts and preflight") as step:
            record, facts, findings = survey(host, record, box)
            step.say(summary(facts))
        if findings.blockers:
            raise blocked(record.name, findings)
        return record

    def fetch(record: BoxRecord) -> None:
        # The facts are those of the box with its GPU: what is fetched is what it needs then.
        login, root, facts = Login.of(record), _root(record), Facts.model_validate(record.facts)
        variables, digest = wanted(record, box, bundle)
        with contextlib.ExitStack() as copying:
            with Host(login) as host:
                _deliver(host, root, facts, box, bundle, board)
                _send(host, root, variables, board)
                copying.enter_context(beside(host, box, root=root, board=board))
                run = f"prepare-{digest}"
                started = runs.start(host, root, bundle, digest=run, variables=variables, playbook=_PREPARE)
            _follow(record, root, started, board)

    return preparing.prepare(ledger, record, provider(record.provider), board, look=look, fetch=fetch, wait=wait)


def watch(name: str, *, board: Board) -> Story | None:
    """Follow the converge that runs on the box `name`, or the last one; None when there never was one."""
    with Ledger() as ledger:
        record = ledger.get(name)

    def last(record: BoxRecord) -> tuple[BoxRecord, dict[str, Any] | None]:
        with Host(Login.of(record)) as host:
            return record, Boxctl(host, _root(record)).call("status").get("converge")

    root = _root(record)
    record, converge = reach(record, last, board.note)
    if not converge:
        return None
    started = runs.Started(str(converge["id"]), attached=converge["state"] == "running", digest="")
    return _follow(record, root, started, board)


def refuse_what_is_not_yet(box: BoxFile, path: Path) -> None:
    """Raise `NotYet` naming every field of the box file that this version cannot bring about."""
    items = not_yet(box)
    if items:
        raise NotYet(
            "this version cannot bring about:\n" + "\n".join(f"  {item.field}: {item.what}" for item in items),
            where=str(path),
            hint="; ".join(dict.fromkeys(item.hint for item in items if item.hint)) or None,
        )


def survey(host: Host, record: BoxRecord, box: BoxFile) -> tuple[BoxRecord, Facts, preflight.Findings]:
    """Read the box's facts in one round trip, keep them in the ledger, and judge them."""
    refuse_to_move(record, box)
    # A disk that filled up is still the one: otherwise another one would be found to have room.
    placed = box.model_copy(update={"data_dir": record.data_dir}) if record.data_dir else box
    facts = read_facts(host, placed.data_dir, ports=preflight.wanted_ports(box).values())
    findings = preflight.plan(facts, placed)
    root = record.root or preflight.root(facts, box)
    data_dir = record.data_dir or preflight.data_dir(facts, box)
    with Ledger() as ledger:
        record = ledger.update(
            record.name, facts=facts.model_dump(mode="json"), root=root, data_dir=data_dir, state="running"
        )
    return record, facts, findings


def refuse_to_move(record: BoxRecord, box: BoxFile) -> None:
    """Raise `UsageError` when the box file names another data disk than the one that the box was set up on."""
    if record.data_dir is None or box.data_dir is None or box.data_dir.rstrip("/") == record.data_dir:
        return
    raise UsageError(
        f"`{record.name}` was set up on `{record.data_dir}`, and the box file now says `data_dir: {box.data_dir}`",
        where=str(record.box_file) if record.box_file else record.name,
        hint=f"set it back, or bring everything home first: `gpubox down {record.name}`",
    )


def wanted(record: BoxRecord, box: BoxFile, bundle: bundles.Bundle) -> tuple[dict[str, Any], str]:
    """The play's variables for this box, and the digest of them together with the bundle."""
    facts = Facts.model_validate(record.facts) if record.facts else None
    variables = role_variables(box, root=_root(record), data_dir=record.data_dir or "", facts=facts, record=record)
    return variables, digest_of(bundle.sha256, variables)


def blocked(name: str, findings: preflight.Findings) -> PreflightBlocked:
    """The error that lists every blocker with its fix."""
    lines = [f"  ✗ {item.message}" + (f"\n      fix: {item.fix}" if item.fix else "") for item in findings.blockers]
    return PreflightBlocked(
        "this box cannot become what its box file says:\n" + "\n".join(lines),
        where=name,
        hint=f"`gpubox doctor {name}` shows everything that was looked at",
    )


def summary(facts: Facts) -> str:
    """A box in half a line: cores, memory, GPUs."""
    gpus = f"{len(facts.gpus)} x {facts.gpus[0].name}" if facts.gpus else "no GPU"
    return f"{facts.cpu.effective:g} cores, {facts.memory.effective / 2**30:.0f} GiB, {gpus}"


def _ask_early(record: BoxRecord) -> EarlyQuestion:
    """Whether the box is as it should be; the digest follows while the connection is made and boxctl starts."""
    boxctl = shlex.quote(f"{record.root}/bin/boxctl")
    return EarlyQuestion(Login.of(record), f'read -r digest && exec {boxctl} fresh --digest "$digest"')


def _fresh(
    record: BoxRecord, box: BoxFile, bundle: bundles.Bundle, early: EarlyQuestion | None
) -> dict[str, Any] | None:
    """The box's status when it is what its box file says and healthy, in one round trip; else None."""
    if record.root is None or record.facts is None:
        return None
    # The box is asked, not the ledger: whoever was killed while following a converge has noted nothing.
    _, digest = wanted(record, box, bundle)
    if early is not None and (status := early.answer(f"{digest}\n".encode(), timeout=_ANSWER)) is not None:
        return status if status.get("fresh") else None
    try:
        with Host(Login.of(record)) as host:
            status = Boxctl(host, record.root).call("fresh", "--digest", digest, retry=True)
    except RemoteCommandFailed:
        return None  # No boxctl there any more (a new disk): the whole way will say what is wrong, if anything is.
    return status if status.get("fresh") else None


def _follow(record: BoxRecord, root: str, started: runs.Started, board: Board) -> Story:
    with board.step("converge") as step:
        if started.attached:
            step.say("attached to the run under way")
        return runs.follow(
            Login.of(record),
            root,
            started.run,
            on_change=step.follow,
            on_link=step.lost_link,
            is_off=lambda: _is_off(record),
        )


def _is_off(record: BoxRecord) -> bool:
    """Whether the provider of a box that costs money says that it runs no longer; False when nobody can say."""
    source = provider(record.provider)
    try:
        return source.bills and source.state(record) in {"stopping", "stopped", "gone"}
    except GpuboxError:
        return False


def _last_words(step: Step) -> Callable[[str], None]:
    def take(line: str) -> None:
        if line and not line.startswith("{"):
            step.say(line.strip())

    return take


def _root(record: BoxRecord) -> str:
    if record.root is None:
        raise UsageError(f"`{record.name}` has never been converged", hint=f"gpubox up {record.name}")
    return record.root
