"""How a decision of the resolver is shown: a table with reasons, the time and the room that it takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gpubox.cli.show import emit_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubox.builds import Plan, Step
    from gpubox.dry_run import DryRun
    from gpubox.preflight import Finding

MARKS = {"ok": "✓", "warning": "!", "blocker": "✗"}


def print_findings(findings: Iterable[Finding]) -> None:
    """Each finding with its mark, and what mends it."""
    for item in findings:
        click.echo(f"{MARKS[item.level]} {item.check}: {item.message}")
        if item.fix and item.level != "ok":
            click.echo(f"    fix: {item.fix}")


def print_plan(plan: Plan) -> None:
    """The table: what, which, why. On a terminal as wide as that is, in a pipe one line each."""
    if plan.rows:
        click.echo()
        _table(("WHAT", "DECISION", "WHY"), [(row.what, row.value, row.why) for row in plan.rows])


def print_estimate(plan: Plan) -> None:
    """About how long what was decided takes, and its room; models are not in it."""
    if plan.steps and not plan.refusals:
        least = "at least " if plan.at_least else ""
        room = _size(plan.disk_bytes)
        click.echo(f"\nabout {least}{_time(plan.seconds)} and {room} on the data disk to make it, models left out")


def print_dry_run(found: DryRun) -> None:
    """Everything that `up` would do."""
    for note in found.notes:
        click.echo(note)
    well = sum(item.level == "ok" for item in found.findings.items)
    print_findings(item for item in found.findings.items if item.level != "ok")
    if well:
        click.echo(f"✓ {well} checks passed (`gpubox doctor {found.name}` lists them)")
    print_plan(found.plan)
    if found.plan.refusals:
        click.echo("\nnothing would be done: the blockers come first")
        return
    if found.steps:
        click.echo()
        _table(("STEP", "ABOUT", "DOWNLOAD", "DISK", "BY"), [_step(step) for step in found.steps])
    least = "at least " if found.at_least else ""
    free = (
        f" of {_size(found.free)} free" if found.free is not None else "; what is free is known once the box is there"
    )
    click.echo(
        f"\nabout {least}{_time(found.seconds)} in all (chains run side by side), "
        f"about {_size(found.disk_bytes)} on the data disk{free}"
    )
    if found.findings.blockers:
        click.echo("nothing would be done yet: the blockers come first")
    click.echo("nothing was changed, nothing was rented")


def _step(step: Step) -> tuple[str, ...]:
    fetched = _size(step.download) if step.download else "-"
    disk = _size(step.disk) if step.disk else "-"
    return (step.what, _time(step.seconds), fetched, disk, step.why)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        emit_table(head, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Not markup: `ktransformers[sglang]` is no style.
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(table)
