"""Commands that keep data: backup, restore."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubox.cli.show import board, emit_json, emit_table, json_option
from gpubox.words import counted

if TYPE_CHECKING:
    from gpubox.backup import Plan

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command(name="backup")
@click.argument("name", required=False)
@click.option("--to", type=_DIRECTORY, help="Where backups go: DIR/NAME/TIME. ./gpubox-backups by default.")
@click.option("--dry-run", is_flag=True, help="Show what exists only on the box, with sizes; fetch nothing.")
@click.option("--declared", is_flag=True, help="Take only what services, jobs and the box file declare.")
@click.option("--verify", type=_DIRECTORY, help="Read every byte of the backup in this directory and compare.")
@json_option('{"name","place","files","size","fetched","seconds","sha256","notes","web_ui"}')
def backup_command(
    name: str | None, to: Path | None, dry_run: bool, declared: bool, verify: Path | None, as_json: bool
) -> None:
    """Bring home what exists only on a box: consistent, and every file proven.

    What is at home already does not come again. It can be interrupted or cut off at any time: the same command goes on
    from there. A backup with a name like 20261122T093000Z is whole; `--verify` says whether it still is.
    """
    if verify is not None:
        _verify(verify, as_json=as_json)
        return
    if name is None:
        raise click.UsageError("which box? `gpubox backup NAME`")
    if dry_run:
        from gpubox import backup

        _show_plan(backup.plan(name, search=not declared), as_json=as_json)
        return
    from gpubox.cli import early

    # It logs in while our own libraries are being loaded.
    with early.take(name) or nullcontext() as login, board() as shown:
        from gpubox import backup

        done = backup.backup(name, board=shown, to=to, search=not declared, early=login)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        emit_json({**asdict(done), "web_ui": done.web_ui.as_dict() if done.web_ui else None})
    else:
        click.echo(done.place)


@click.command(name="restore")
@click.argument("name")
@click.argument("source", required=False, metavar="[FROM]", type=_DIRECTORY)
@click.option(
    "--from-box", metavar="DIR", help="The newest snapshot in this directory of the box, on a disk that stayed."
)
@click.option("--force", is_flag=True, help="Overwrite what is newer on the box.")
@click.option("--dry-run", is_flag=True, help="Show what would be written and what is newer; change nothing.")
@json_option('{"name","place","files":[{"target","size","state"}],"written","size","stops","history","web_ui"}')
def restore_command(
    name: str, source: Path | None, from_box: str | None, force: bool, dry_run: bool, as_json: bool
) -> None:
    """Put a backup onto a box, the same or another one, every file proven.

    FROM is a directory such as gpubox-backups/NAME/20261122T093000Z; the last backup of a box of that name by default.
    Nothing newer is overwritten without `--force` (exit code 3). Logs and converge runs stay in the backup.
    """
    from gpubox import restore

    if from_box is not None:
        if source is not None:
            raise click.UsageError("either FROM, a directory of this machine, or `--from-box`")
        from gpubox.snapshot_fetch import from_box as fetched

        with board() as shown:
            source = fetched(name, from_box, board=shown)
    if dry_run:
        done = restore.plan(name, source)
    else:
        with board() as shown:
            done = restore.restore(name, source, board=shown, force=force)
    if as_json:
        files = [{"target": each.target, "size": each.file.size, "state": each.state} for each in done.files]
        summary = {"name": done.name, "place": done.place, "written": len(done.writes), "size": done.size}
        web_ui = done.web_ui.as_dict() if done.web_ui else None
        emit_json({**summary, "files": files, "stops": done.stops, "history": done.history, "web_ui": web_ui})
    elif dry_run:
        emit_table(("on the box", "MiB", "file"), [(e.state, _mib(e.file.size), e.target) for e in done.files])
        click.echo(f"{len(done.writes)} files would be written, {_mib(done.size)} MiB", err=True)


def _verify(place: Path, *, as_json: bool) -> None:
    from gpubox import backups

    with board() as shown, shown.step("read every byte") as step:
        manifest = backups.checked(place)
        step.say(f"{counted(len(manifest.files), 'file')}, {_mib(manifest.size)} MiB, all as they were")
    if as_json:
        summary = {"name": manifest.name, "place": place, "files": len(manifest.files), "size": manifest.size}
        emit_json({**summary, "made_at": manifest.made_at, "notes": manifest.notes})


def _show_plan(intent: Plan, *, as_json: bool) -> None:
    if as_json:
        emit_json(intent.as_dict())
        return
    rows = [(kind, reason, str(count), _mib(size)) for kind, reason, count, size in intent.groups()]
    emit_table(("kind", "what", "files", "MiB"), [*rows, ("", "all", str(len(intent.files)), _mib(intent.size))])
    for pattern in intent.missing:
        click.echo(f"note: `{pattern}` is declared, and there is no such file", err=True)
    for sentence in intent.incomplete:
        click.echo(f"warning: {sentence}", err=True)


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f}"
