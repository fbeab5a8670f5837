"""`gpubox demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpubox.cli.show import board, emit_table


@click.command(name="demo")
@click.option("--keep", is_flag=True, help="Leave the box up at the end.")
@click.option("--results", type=click.Path(path_type=Path), help="Where results go; ./gpubox-results/ by default.")
def demo_command(keep: bool, results: Path | None) -> None:
    """The whole story on this machine: no GPU, no account.

    Makes a local box, trains a small model there, serves it with vLLM's CPU build, opens a tunnel, asks it a question,
    measures it, brings the results home and takes the box down.
    """
    from gpubox.bench.table import level_rows
    from gpubox.cli.taking import show_receipt
    from gpubox.demo import demo

    def answer(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    with board() as shown:
        result = demo(board=shown, answer=answer, keep=keep, results=results)
    click.echo()
    head, rows = level_rows(result.bench)
    emit_table(head, rows)
    click.echo()
    if result.receipt is None:
        click.echo("the box is still up: `gpubox chat demo`, `gpubox status demo`, `gpubox down demo`", err=True)
        return
    show_receipt(result.receipt)
    click.echo('\nnext: rent a box and adopt it, `gpubox add NAME "ssh -p PORT root@HOST"`', err=True)
