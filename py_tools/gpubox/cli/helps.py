"""`gpubox help`."""

from __future__ import annotations

import click

from gpubox.cli.show import emit_table

EXIT_CODES = (
    ("0", "done"),
    ("1", "failed"),
    ("2", "usage or bad input"),
    ("3", "refused, to protect data or money"),
    ("4", "login or permission refused"),
    ("5", "no stock, a timeout, or out of reach"),
    ("130", "Ctrl-C"),
)


@click.command(name="help")
@click.argument("topic", required=False)
@click.pass_context
def help_command(ctx: click.Context, topic: str | None) -> None:
    """Exit codes (`gpubox help exit-codes`), and help on a command."""
    parent = ctx.parent
    assert parent is not None
    if topic is None:
        click.echo(parent.get_help())
        return
    if topic == "exit-codes":
        emit_table(("CODE", "MEANING"), EXIT_CODES)
        return
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, topic)
    if command is None:
        raise click.UsageError(f"no command and no topic `{topic}`; topics: exit-codes")
    click.echo(command.get_help(click.Context(command, info_name=topic, parent=parent)))
