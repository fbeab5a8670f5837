"""`gpubox history`: the chats of a web UI as files, and files as chats."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from gpubox.cli.show import board, emit_json, json_option

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group(name="history")
def history_command() -> None:
    """The chats of the web UI as plain files, and back."""


@history_command.command(name="export")
@click.argument("name")
@click.option("--to", type=_DIRECTORY, help="Where exports go: DIR/NAME-TIME. ./gpubox-history by default.")
@click.option("--from", "source", type=_DIRECTORY, help="Read this backup instead of the box.")
@click.option("--user", metavar="EMAIL", help="Only this user's chats.")
@json_option('{"name","place","chats","messages","files","missing","seconds"}')
def export_command(name: str, to: Path | None, source: Path | None, user: str | None, as_json: bool) -> None:
    """Write all chats of all users as JSON and as Markdown, with the files that people gave.

    It reads a consistent copy, whether the web UI runs or not. With `--from` it needs no box.
    """
    from gpubox.history_export import export

    with board() as shown:
        done = export(name, board=shown, to=to, source=source, user=user)
    for sentence in done.missing:
        click.echo(f"note: {sentence}", err=True)
    if as_json:
        emit_json(asdict(done))
    else:
        click.echo(done.place)


@history_command.command(name="import")
@click.argument("name")
@click.argument("place", metavar="FILE_OR_DIR", type=click.Path(path_type=Path))
@click.option("--user", metavar="EMAIL", help="Give all of them to this user of the web UI.")
@click.option("--dry-run", is_flag=True, help="Say what would come in; change nothing.")
@json_option('{"name","source","new","kept","older","empty","refused","users":{EMAIL: new},"files","dry"}')
def import_command(name: str, place: Path, user: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring chats into the web UI: an export of this command, or ChatGPT's.

    FILE_OR_DIR is a directory of `gpubox history export`, ChatGPT's zip file, or a conversations.json out of it. What
    was brought in before is not brought in twice. Without `--user` a chat goes to who has its user's e-mail address in
    this web UI, and to its first admin where there is nobody.
    """
    from gpubox.history_import import bring

    with board() as shown:
        done = bring(name, place, board=shown, user=user, dry=dry_run)
    if done.files:
        click.echo(f"note: {done.files} files that were given in these chats stay in the export", err=True)
    if as_json:
        emit_json(asdict(done))
    else:
        click.echo(done.words())
