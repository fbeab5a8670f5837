"""`gpubox down`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubox.cli.show import ask, board, emit_json, json_option, yes_option
from gpubox.words import counted

if TYPE_CHECKING:
    from decimal import Decimal

    from gpubox.receipt import Receipt
    from gpubox.takedown import Plan

_SHOWN = 5  # Largest files of each kind in the plan; `--json` has all.


@click.command(name="down")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Show what it would bring home, stop and release; change nothing.")
@click.option("--to", type=click.Path(path_type=Path), help="Where files go, as in `gpubox backup`; ./gpubox-backups.")
@click.option(
    "--results", type=click.Path(path_type=Path), help="Where the receipt goes; ./gpubox-results/NAME-TIME by default."
)
@click.option("--discard", is_flag=True, help="Give up what exists only on the box, after showing it.")
@yes_option
@json_option(
    '{"name","provider","ref","released","verified","backup","files","size","spent","balance_before","balance_after",'
    '"currency","hours","hours_on","processes_left","still_to_do","notes","results",...}; with --dry-run {"seen",'
    '"files":[{"path","size","kind","reason"}],"size","stops","releases","last_backup","last_heard","spent",...}'
)
def down_command(
    name: str, dry_run: bool, to: Path | None, results: Path | None, discard: bool, yes: bool, as_json: bool
) -> None:
    """Bring home what exists only on a box, verify it, stop everything, give the box back.

    Ends with a receipt, when the provider's own list no longer has the box. Whatever goes wrong before that ends it
    with exit code 1 or 3, and says what still runs and what that costs; again goes on where it ended.
    """
    from gpubox import web_ui_home
    from gpubox.down import down
    from gpubox.takedown_look import plan

    if dry_run:
        intent = plan(name, discard=discard)
        if as_json:
            emit_json(intent.as_dict())
        else:
            click.echo(plan_text(intent))
        return

    def confirm(intent: Plan) -> bool:
        # What is given up for ever is shown, question or not.
        if not yes or discard:
            click.echo(plan_text(intent), err=True)
        return ask("go on?", yes=yes)

    with board() as shown:
        receipt = down(name, board=shown, confirm=confirm, results=results, to=to, discard=discard)
        web_ui_home.leave(name, board=shown)
    if as_json:
        emit_json(asdict(receipt))
    else:
        show_receipt(receipt)


def show_receipt(receipt: Receipt) -> None:
    """Print a receipt as a person reads it."""
    from gpubox.receipt import as_text

    click.echo(as_text(receipt))


def plan_text(intent: Plan) -> str:
    """What a teardown would do, for a person: what is saved or lost, with sizes and reasons, and what stops."""
    from gpubox import web_ui_home

    record = intent.record
    lines = [f"`{intent.name}` ({record.provider}{', ' + record.provider_ref if record.provider_ref else ''})"]
    if intent.spent is not None:
        lines.append(f"  has cost: {_money(intent.spent, record.currency)}")
    if intent.reason:
        lines.append(f"  {'not looked at' if intent.seen == 'unseen' else 'nothing to bring home'}: {intent.reason}")
    if intent.seen == "unseen":
        lines += _last_known(intent)
    if intent.data is not None:
        lines.append(f"  stops: {', '.join(intent.running) or 'nothing runs'}")
        verb = "loses" if intent.discard else "brings home"
        lines.append(f"  {verb} {counted(len(intent.data.files), 'file')}, {_size(intent.size)}:")
        lines += _groups(intent)
        lines += [f"  not looked at: {sentence}" for sentence in intent.data.incomplete]
    if here := web_ui_home.line_of_down(intent.name):
        lines.append(f"  {here}")
    end = "is released at its provider" if intent.releases else "stays: this provider has no way to release it"
    lines.append(f"  the box {end}")
    return "\n".join(lines)


def _groups(intent: Plan) -> list[str]:
    assert intent.data is not None
    lines = []
    for kind, reason, count, size in intent.data.groups():
        lines.append(f"    {reason} ({kind}): {counted(count, 'file')}, {_size(size)}")
        files = [file for file in intent.data.files if (file.kind, file.reason) == (kind, reason)]
        biggest = sorted(files, key=lambda file: -file.size)
        lines += [f"      {file.path}  {_size(file.size)}" for file in biggest[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"      and {count - _SHOWN} more")
    return lines


def _last_known(intent: Plan) -> list[str]:
    last, heard = intent.last_backup, intent.last_heard
    return [
        f"  it last answered: {heard:%Y-%m-%d %H:%M} UTC" if heard else "  it has never answered",
        f"  last backup: {last.at:%Y-%m-%d %H:%M} UTC, {counted(last.files, 'file')}, {_size(last.size)}, {last.place}"
        if last
        else "  last backup: none",
    ]


def _size(size: int) -> str:
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size} bytes"


def _money(amount: Decimal, currency: str | None) -> str:
    from gpubox.words import money

    return money(amount, currency)
