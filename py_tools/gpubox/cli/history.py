"""`gpubox history`: the chats of a web UI as files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from gpubox.cli.show import board, emit_json, json_option

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group(name="history")
def history_command() -> None:
    """The chats of the web UI as plain files."""


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
