"""The command line (the table in docs/architecture.md): one JSON object on stdout, exit code 0, 1 failed, 2 usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from boxctl import layout
from boxctl.errors import BoxctlError, UsageError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from boxctl.layout import Layout

    Commands = argparse._SubParsersAction["_Parser"]
    Command = Callable[[Layout, argparse.Namespace], dict[str, Any] | None]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help`")


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    root = os.environ.get("GPUBOX_ROOT", "")
    try:
        # A backup starts six of these: to make the parsers of all the others would take a third of their start.
        options = _AT_ONCE.get(tuple(arguments)) or _parser().parse_args(arguments)
        place = layout.find()
        root = str(place.root)
        run: Command = options.run
        if (answer := run(place, options)) is not None:
            print(_text(answer), flush=True)
    except BoxctlError as error:
        return _fail(error)
    except BrokenPipeError:
        # Nobody reads any more; without this Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(from_os_error(error, root))
    return 0


def _text(answer: dict[str, Any]) -> str:
    text = json.dumps(answer, ensure_ascii=False)
    # A file's name may be no text at all; Python's stand-ins for its bytes can only be printed escaped.
    return text if text.isprintable() else json.dumps(answer)


def _fail(error: BoxctlError) -> int:
    print(json.dumps(error.as_dict(), ensure_ascii=False), flush=True)
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="boxctl", description="Services, jobs and converge runs of this box. Prints JSON.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "status", _status, "what runs")
    fresh = _add(commands, "fresh", _fresh, "status, and whether anything is to be done")
    fresh.add_argument("--digest", required=True)
    _converge(commands)
    follow = _add(commands, "follow", _follow, "a converge run as JSON lines")
    follow.add_argument("name", metavar="RUN")
    follow.add_argument("--offset", type=int, default=0, help="bytes of its events that are known already")
    _job(commands)
    _service(commands)
    logs = _add(commands, "logs", _logs, "a log as text", name=True)
    logs.add_argument("--lines", type=int, default=100)
    logs.add_argument("--follow", action="store_true")
    manifest = _add(commands, "manifest", _manifest, "files that exist only here")
    manifest.add_argument("--list", action="store_true", help="sizes only, and the hashes that are known already")
    manifest.add_argument("--declared", action="store_true", help="do not look for what nobody declared")
    manifest.add_argument("--seconds", type=float, default=20.0, help="how long to look for it")
    _add(commands, "send", _send, "give files to a backup (frames, not JSON)")
    _add(commands, "receive", _receive, "take files of a backup (frames, not JSON)")
    _guard(commands)
    boot = _add(commands, "boot", _boot, "start the keeper, supervisord and every service")
    boot.add_argument("--check", action="store_true", help="only say whether it would start anything")
    boot.add_argument("--hook", action="store_true", help="called when the box boots: respect a shutdown")
    _add(commands, "shutdown", _shutdown, "end everything")
    return parser


def _add(commands: Commands, verb: str, run: Command, words: str, *, name: bool = False) -> argparse.ArgumentParser:
    parser = commands.add_parser(verb, help=words, description=words)
    parser.set_defaults(run=run)
    if name:
        parser.add_argument("name", metavar="NAME")
    return parser


def _converge(commands: Commands) -> None:
    verbs = _group(commands, "converge", "run a playbook on this box")
    start = _add(verbs, "start", _converge_start, "start a run, or attach to the one under way; variables on stdin")
    start.add_argument("--bundle", required=True, metavar="SHA")
    start.add_argument("--digest", required=True)
    start.add_argument("--playbook", required=True)


def _job(commands: Commands) -> None:
    verbs = _group(commands, "job", "programs that end")
    _add(verbs, "start", _job_start, "start one, unless the same work is done or under way; spec on stdin", name=True)
    wait = _add(verbs, "wait", _job_wait, "wait until it has ended", name=True)
    wait.add_argument("--timeout", type=float, required=True, metavar="SECONDS")
    _add(verbs, "cancel", _job_cancel, "end it with everything that it started", name=True)
    _add(verbs, "remove", _job_remove, "cancel and forget it", name=True)
    _add(verbs, "list", _job_list, "every job")


def _service(commands: Commands) -> None:
    verbs = _group(commands, "service", "programs that are kept running")
    apply = _add(verbs, "apply", _service_apply, "make it what the spec on stdin says", name=True)
    apply.add_argument("--check", action="store_true", help="only say what would change")
    for verb in ("start", "stop", "restart", "remove"):
        _add(verbs, verb, _service_verb, f"{verb} it", name=True).set_defaults(verb=verb)


def _guard(commands: Commands) -> None:
    guard = _add(commands, "guard", _guard_order, "what the guard sees, and until when; or tell it something")
    guard.add_argument("--extend", type=float, metavar="SECONDS", help="let the box live so much longer")
    switch = guard.add_mutually_exclusive_group()
    switch.add_argument("--off", action="store_const", const=True, help="watch only, power nothing off")
    switch.add_argument("--on", dest="off", action="store_const", const=False, help="guard again")
    guard.add_argument("--spent", type=float, metavar="AMOUNT", help="what the box has cost until now")


def _group(commands: Commands, name: str, words: str) -> Commands:
    parser = commands.add_parser(name, help=words, description=words)
    return parser.add_subparsers(required=True, metavar="COMMAND")


def _status(place: Layout, _options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import status

    return status.status(place)


def _fresh(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import status

    return status.fresh(place, options.digest)


def _converge_start(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import converge

    return converge.start(
        place, bundle=options.bundle, digest=options.digest, playbook=options.playbook, variables=sys.stdin.read()
    )


def _follow(place: Layout, options: argparse.Namespace) -> None:
    from boxctl import follow

    follow.follow(place, options.name, offset=options.offset)


def _job_start(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import jobs, specs

    if options.name == layout.CONVERGE:
        raise UsageError("the name `converge` is taken", hint="`boxctl converge start` starts that job")
    return jobs.start(place, options.name, specs.job(sys.stdin.read()))


def _job_wait(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import jobs

    return jobs.wait(place, options.name, timeout=options.timeout)


def _job_cancel(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import jobs

    return jobs.cancel(place, options.name)


def _job_remove(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import jobs

    return jobs.remove(place, options.name)


def _job_list(place: Layout, _options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import jobs

    return {"jobs": [jobs.view(place, name) for name in jobs.names(place)]}


def _service_apply(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import services, specs

    return services.apply(place, options.name, specs.service(sys.stdin.read()), check=options.check)


def _service_verb(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import services

    verbs = {
        "start": services.start,
        "stop": services.stop,
        "restart": services.restart,
        "remove": services.remove,
    }
    return verbs[options.verb](place, options.name)


def _logs(place: Layout, options: argparse.Namespace) -> None:
    from boxctl import logs

    logs.show(place, options.name, lines=options.lines, follow=options.follow)


def _manifest(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import manifest

    make = manifest.listed if options.list else manifest.manifest
    return make(place, search=not options.declared, seconds=options.seconds)


def _send(place: Layout, _options: argparse.Namespace) -> None:
    from boxctl import send

    send.main(place)


def _receive(place: Layout, _options: argparse.Namespace) -> None:
    from boxctl import receive

    receive.main(place)


def _guard_order(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import guard

    if options.extend is None and options.off is None and options.spent is None:
        return {"guard": guard.view(place)}
    return {"guard": guard.order(place, extend=options.extend, off=options.off, spent=options.spent)}


def _boot(place: Layout, options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import lifecycle

    if options.check:
        return {"changed": lifecycle.keeper_pid(place) is None}
    return lifecycle.boot(place, hook=options.hook)


def _shutdown(place: Layout, _options: argparse.Namespace) -> dict[str, Any]:
    from boxctl import lifecycle

    return lifecycle.shutdown(place)


_AT_ONCE: dict[tuple[str, ...], argparse.Namespace] = {
    ("send",): argparse.Namespace(run=_send),
    ("receive",): argparse.Namespace(run=_receive),
}
