"""Commands that change a box: init, add, up, watch, stop, start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubox.cli.show import ask, ask_password, board, emit_json, json_option, yes_option

if TYPE_CHECKING:
    from datetime import timedelta

    from gpubox.converge.chain import Chain
    from gpubox.converge.progress import Board
    from gpubox.remote.tunnel import OpenTunnel
    from gpubox.up import Up


def _length(_context: click.Context, _option: click.Parameter, text: str | None) -> timedelta | None:
    from gpubox.durations import duration

    return duration(text) if text is not None else None


_wait_option = click.option(
    "--wait",
    metavar="TIME",
    callback=_length,
    help="Try again for that long when there is no stock, as in 30m or 2h.",
)


@click.command(name="init")
@click.argument("name", required=False)
@click.option("--template", default="attach", show_default=True, help="Which starter file; `--list` names them.")
@click.option("--list", "list_them", is_flag=True, help="Print the names of the starter files.")
def init_command(name: str | None, template: str, list_them: bool) -> None:
    """Write a starter box file, boxes/NAME.yml."""
    from gpubox.boxfile import template_names, write_starter

    if list_them:
        click.echo("\n".join(template_names()))
        return
    if name is None:
        raise click.UsageError("how shall the box be called? `gpubox init NAME`")
    path = write_starter(name, template, Path("boxes"))
    click.echo(path)
    click.echo(f"edit it, then: gpubox up {name}", err=True)


@click.command(name="add")
@click.argument("name")
@click.argument("line", required=False)
@click.option(
    "--accept-new-key", is_flag=True, help="Forget the pinned host key and pin the one that the box shows now."
)
@yes_option
@json_option('{"name","endpoint","host_key","known","notes"}')
def add_command(name: str, line: str | None, accept_new_key: bool, yes: bool, as_json: bool) -> None:
    """Adopt a box that you rent, by its SSH login line.

    LINE is what the provider's console shows, such as "ssh -p 38076 root@connect.westb.seetacloud.com". The password
    is asked once; afterwards a key logs in.
    """
    import sys

    from gpubox.add import add, refuse_unseen

    def accept(fingerprint: str, key: str) -> bool:
        if not yes and not sys.stdin.isatty():
            return refuse_unseen(fingerprint, key)
        click.echo(f"the box shows the host key {fingerprint} ({key.split(maxsplit=1)[0]})", err=True)
        return ask("pin it?", yes=yes)

    added = add(name, line, password=ask_password(name), accept=accept, accept_new_key=accept_new_key)
    record = added.record
    for note in added.notes:
        click.echo(f"note: {note}", err=True)
    endpoint = f"{record.user}@{record.host}:{record.port}"
    if as_json:
        emit_json(
            {
                "name": name,
                "endpoint": endpoint,
                "host_key": record.host_key,
                "known": added.known,
                "notes": list(added.notes),
            }
        )
        return
    click.echo(f"`{name}` is {endpoint}; the host key is pinned and a key of gpubox's own logs in", err=True)
    if not Path("boxes", f"{name}.yml").exists():
        click.echo(f"next: gpubox init {name} --template attach, then gpubox up {name}", err=True)


@click.command(name="up")
@click.argument("name")
@click.option("-f", "--file", "box_file", type=click.Path(path_type=Path), help="Another box file than boxes/NAME.yml.")
@click.option("--full", is_flag=True, help="Run the playbook even when nothing has changed.")
@click.option("--no-tunnel", is_flag=True, help="Leave the tunnels closed.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, with what and why; change and rent nothing.")
@_wait_option
@json_option(
    '{"name","changed","seconds","urls":{service: url},"web_ui":{"name","url","email","on"}|null,'
    '"services":[...],"jobs":[...],'
    '"chain":{"seconds","links":[{"name","job","seconds"}],"advice"}|null}; with --dry-run {"name","state",'
    '"findings":[...],"plan":{"rows":[{"what","value","why"}],...},"models":[...],"seconds","at_least","disk_bytes",'
    '"disk_free","notes":[...]}'
)
@click.pass_context
def up_command(
    ctx: click.Context,
    name: str,
    box_file: Path | None,
    full: bool,
    no_tunnel: bool,
    dry_run: bool,
    wait: timedelta | None,
    as_json: bool,
) -> None:
    """Make a box what its box file says, and follow that to the end.

    It is rented first where the box file says from whom. It can be interrupted at any time: before a box is rented,
    nothing stays rented; after that, the work goes on on the box, and `gpubox up` or `gpubox watch` picks it up.
    However often it is run, there is one box of that name. When nothing has changed, that is found out in one round
    trip.
    """
    import time

    if dry_run:
        _dry_run(ctx, name, box_file, as_json=as_json)
        return

    from gpubox import tunnels, web_ui, web_ui_home
    from gpubox.cli.web_ui import tell
    from gpubox.converge.chain import longest_chain
    from gpubox.status import ENGINES
    from gpubox.up import up

    begun = time.monotonic()
    with board() as shown:
        result = up(name, board=shown, box_file=box_file, full=full, wait=wait)
        tunnel = None if no_tunnel else _open_tunnels(name, result, shown)
        home = None
        if web_ui_home.asked(result.box) and not no_tunnel:
            home = web_ui_home.serve(name, board=shown, tunnel=tunnel, answer=result.status)
    urls = {part.label: tunnels.url_of(part) for part in (tunnel.forwards if tunnel else ())}
    urls |= {tunnels.WEB_UI: home.place.url} if home else {}
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    place = home.place if home else web_ui.place_of(name, result.box, urls) if result.box else None
    chain = longest_chain(result.story) if result.story else None
    seconds = time.monotonic() - begun
    if as_json:
        emit_json(
            {
                "name": name,
                "changed": result.changed,
                "seconds": round(seconds, 3),
                "urls": urls,
                "web_ui": place.as_dict() if place else None,
                "services": result.status["services"],
                "jobs": result.status["jobs"],
                "chain": chain.as_dict() if chain else None,
            }
        )
        return
    _print_ready(chain, seconds, urls)
    if place:
        tell(place, made=home.made if home else result.password_made)
    elif ENGINES.intersection(urls):
        click.echo(f"next: gpubox chat {name}", err=True)


def _print_ready(chain: Chain | None, seconds: float, urls: dict[str, str]) -> None:
    from gpubox.converge.chain import WORTH_TELLING
    from gpubox.status import ENGINES

    if chain and chain.seconds >= WORTH_TELLING:
        click.echo(f"longest chain: {chain.words()}", err=True)
        if chain.advice:
            click.echo(f"  shorter with: {chain.advice}", err=True)
    click.echo(f"ready after {seconds:.1f} s", err=True)
    for label, url in urls.items():
        click.echo(f"{label}: {url}/v1" if label in ENGINES else f"{label}: {url}")


def _dry_run(ctx: click.Context, name: str, box_file: Path | None, *, as_json: bool) -> None:
    from gpubox.cli.decision import print_dry_run
    from gpubox.dry_run import dry_run

    found = dry_run(name, box_file)
    if as_json:
        emit_json(found.as_dict())
    else:
        print_dry_run(found)
    if found.findings.blockers:
        ctx.exit(1)


def _open_tunnels(name: str, result: Up, shown: Board) -> OpenTunnel | None:
    """The ports of its services on this machine; None when it has none."""
    from gpubox import tunnels

    if not tunnels.forwards_of(name, result.status):
        return None
    with shown.step("tunnels") as step:
        tunnel = tunnels.open_for(name, detach=True, say=shown.note, answer=result.status)
        step.say(tunnels.how_long(tunnel))
    return tunnel


@click.command(name="watch")
@click.argument("name")
def watch_command(name: str) -> None:
    """Follow the converge that runs on a box, or see how the last one ended."""
    from gpubox.up import watch

    with board() as shown:
        story = watch(name, board=shown)
    if story is None:
        click.echo(f"nothing has run on `{name}` yet; `gpubox up {name}` starts", err=True)
        return
    click.echo(f"done: {story.tasks_done} tasks, {story.changed} changed", err=True)


@click.command(name="stop")
@click.argument("name")
@click.option("--power", is_flag=True, help="Of a box added by its login: run its own shutdown, which AutoDL's have.")
@yes_option
@json_option('{"name","off":bool,"powered_off_at","erase_at","stopped_per_hour","currency","still_to_do"}')
def stop_command(name: str, power: bool, yes: bool, as_json: bool) -> None:
    """Stop what runs on a box and power it off; its disk stays."""
    from gpubox.errors import Refused
    from gpubox.power import stop

    if not ask(f"stop every service and job on `{name}` and power it off?", yes=yes):
        raise Refused("nothing was done", where=name)
    with board() as shown:
        stopped = stop(name, board=shown, power=power)
    if as_json:
        kept = {"name", "powered_off_at", "erase_at", "stopped_per_hour", "currency"}
        record = stopped.record.model_dump(mode="json", include=kept)
        emit_json({**record, "off": stopped.off, "still_to_do": stopped.still_to_do})
    elif stopped.still_to_do:
        click.echo(stopped.still_to_do, err=True)


@click.command(name="start")
@click.argument("name")
@_wait_option
def start_command(name: str, wait: timedelta | None) -> None:
    """Power a box on and bring its services back."""
    from gpubox.power import start

    with board() as shown:
        start(name, board=shown, wait=wait)
    click.echo(f"next: gpubox tunnel {name} --detach, or gpubox chat {name}", err=True)
