"""Commands that look: doctor, status, logs, ssh, ls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpubox.cli.show import duration, emit_json, emit_table, json_option

if TYPE_CHECKING:
    from gpubox.builds import Plan
    from gpubox.preflight import Finding


@click.command(name="doctor")
@click.argument("name", required=False)
@click.option("-f", "--file", "box_file", type=click.Path(path_type=Path), help="Another box file than boxes/NAME.yml.")
@json_option('{"findings":[{"level":"ok|warning|blocker","check","message","fix"}],"facts":{...},"plan":{...}|null}')
@click.pass_context
def doctor_command(ctx: click.Context, name: str | None, box_file: Path | None, as_json: bool) -> None:
    """What is wrong with this machine or a box, and how to mend it.

    Without NAME it also asks every configured account whether its key, permissions and money are in order; nothing is
    rented for that. With NAME it prints, too, which versions and wheels the box gets, and why. Exit code 1 on any
    blocker.
    """
    from gpubox.cli.decision import print_estimate, print_findings, print_plan
    from gpubox.doctor import doctor_box, doctor_here

    facts: dict[str, Any] | None = None
    plan: Plan | None = None
    if name is None:
        findings = doctor_here()
    else:
        read, judged = doctor_box(name, box_file)
        from gpubox.dry_run import decided

        facts, findings, plan = read.model_dump(mode="json"), list(judged.items), decided(name, box_file, read)
    if as_json:
        shown = plan.as_dict() if plan else None
        emit_json({"findings": [_as_dict(item) for item in findings], "facts": facts, "plan": shown})
    else:
        print_findings(findings)
        if plan is not None:
            print_plan(plan)
            print_estimate(plan)
    if any(item.level == "blocker" for item in findings):
        ctx.exit(1)


@click.command(name="status")
@click.argument("name")
@json_option(
    '{"name","provider","endpoint","services":[...],"jobs":[...],"converge","digest","guard":{...},"tunnels":[...]}'
)
def status_command(name: str, as_json: bool) -> None:
    """What runs on a box: services, jobs, tunnels."""
    from gpubox.status import status

    answer = status(name, _beside)
    if as_json:
        emit_json(answer)
        return
    click.echo(f"{name}  {answer['endpoint']}  ({answer['provider']})")
    emit_table(
        ("SERVICE", "STATE", "UPTIME", "PORT", "RESTARTS", "EXIT", "LAST ERROR"),
        [_service_row(item) for item in answer["services"]],
    )
    if answer["jobs"]:
        click.echo()
        emit_table(
            ("JOB", "STATE", "TIME", "EXIT", "PROGRESS OR LAST ERROR"), [_job_row(item) for item in answer["jobs"]]
        )
    if answer.get("guard"):
        from datetime import UTC, datetime

        from gpubox.guard import line

        click.echo(f"\n{line(answer['guard'], datetime.now(UTC))}")
    for tunnel in answer["tunnels"]:
        ports = ", ".join(f"{item['label']} 127.0.0.1:{item['local_port']}" for item in tunnel["forwards"])
        click.echo(f"\ntunnel {tunnel['state']}: {ports}")


@click.command(name="logs")
@click.argument("name")
@click.argument("what", default="converge")
@click.option("-n", "--lines", default=100, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come; Ctrl-C ends it.")
def logs_command(name: str, what: str, lines: int, follow: bool) -> None:
    """The log of a service, a job or the last converge.

    WHAT is its name in `gpubox status`; `converge` when left out.
    """
    from gpubox.logs import logs

    logs(name, what, lines=lines, follow=follow, say=click.echo, moved=_beside)


@click.command(name="ssh", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh_command(name: str, command: tuple[str, ...]) -> None:
    """A shell, or one command, on a box.

    The pinned host key, the right port and key: nothing to look up. A rented box that has moved is found again.
    """
    from gpubox.shell import shell

    sys.stdout.flush()
    sys.exit(shell(name, command, say=_beside))


@click.command(name="ls")
@click.option("-a", "--all", "everything", is_flag=True, help="Boxes that are gone, too.")
@json_option(
    '[{"name","provider","provider_ref","order","state","in_doubt","endpoint","age_s","per_hour","currency","spent",'
    '"budget","budget_left","guard_at","powered_off_at","erase_at","last_backup":{...}|null, and every other field of'
    " the ledger}]; money as strings"
)
def ls_command(everything: bool, as_json: bool) -> None:
    """Every box that the ledger knows.

    Nobody is asked: `gpubox sweep` asks the accounts. SPENT is price by time; GUARD is when the box's guard powers it
    off, ERASED when its provider deletes it. Columns that no box needs are left out.
    """
    from gpubox.cli.listing import doubt_lines, table
    from gpubox.listing import boxes

    listed = boxes(include_released=everything)
    if as_json:
        emit_json([item.as_dict() for item in listed])
        return
    if not listed:
        click.echo('no boxes yet: `gpubox demo`, or `gpubox add NAME "ssh -p PORT root@HOST"`', err=True)
        return
    emit_table(*table(listed))
    for line in doubt_lines(listed):
        click.echo(line, err=True)


def _beside(words: str) -> None:
    """What is said while the data goes to stdout."""
    click.echo(words, err=True)


def _service_row(item: dict[str, Any]) -> tuple[str, ...]:
    state = item["state"]
    if state == "running" and item.get("healthy") is False:
        state = "unhealthy"
    return (
        str(item["name"]),
        state,
        duration(item.get("uptime_s")),
        str(item.get("port") or "-"),
        str(item.get("restarts", 0)),
        _dash(item.get("exit_code")),
        str(item.get("last_error") or ""),
    )


def _job_row(item: dict[str, Any]) -> tuple[str, ...]:
    from gpubox.converge.jobs import job_words

    # Of a job that is done, the last line of its log is no error.
    error = None if item["state"] == "done" else item.get("last_error")
    words = str(error or "") or job_words(item.get("progress") or {})
    return (str(item["name"]), str(item["state"]), duration(_took(item)), _dash(item.get("exit_code")), words)


def _took(item: dict[str, Any]) -> float | None:
    from datetime import UTC, datetime

    if item.get("started") is None:
        return None
    ended = datetime.fromisoformat(item["ended"]) if item.get("ended") else datetime.now(UTC)
    return (ended - datetime.fromisoformat(item["started"])).total_seconds()


def _dash(value: object) -> str:
    return "-" if value is None else str(value)


def _as_dict(item: Finding) -> dict[str, Any]:
    return {"level": item.level, "check": item.check, "message": item.message, "fix": item.fix}
