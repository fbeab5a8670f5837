"""Commands about what happens while nobody looks: guard, notify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpubox.cli.show import ask, emit_json, emit_table, json_option, yes_option

if TYPE_CHECKING:
    from gpubox.notify import Sent


@click.command(name="guard")
@click.argument("name")
@click.option("--extend", metavar="TIME", help="Let the box live so much longer, as in 2h.")
@click.option("--off", "switch", flag_value="off", help="Let it power nothing off until `--on`.")
@click.option("--on", "switch", flag_value="on", help="Let it do its work again.")
@yes_option
@json_option(
    '{"name","stage":"watching|warned|stopping|off|dead","reason","why","fires_at","guard_at","deadlines":{"ttl","idle",'
    '"budget"},"limits","busy":[...],"unknown":[...],"sessions","jobs":[...],"requests","gpus":[...],"idle_s","spent",'
    '"price_per_hour","currency","extended_s","trouble":[...]}; moments in seconds since 1970'
)
def guard_command(name: str, extend: str | None, switch: str | None, yes: bool, as_json: bool) -> None:
    """When a box powers itself off, what its guard sees, and how to let the box live longer."""
    from gpubox import guard
    from gpubox.durations import duration
    from gpubox.errors import Refused

    if extend is not None and switch == "off":
        raise click.UsageError("`--extend` and `--off` do not go together")
    if switch == "off" and not ask(f"let `{name}` run on, whatever it costs?", yes=yes):
        raise Refused("the guard was left as it is", where=name, hint=f"gpubox guard {name} --off --yes")
    if switch is not None:
        view = guard.switch(name, on=switch == "on")
    if extend is not None:
        view = guard.extend(name, duration(extend))
    elif switch is None:
        view = guard.look(name)
    if as_json:
        emit_json(view)
        return
    _show(view)
    if extend is not None and "budget" in view["deadlines"]:
        click.echo(
            f"its budget is not extended: raise `guard.budget` in the box file, then `gpubox up {name}`", err=True
        )


@click.command(name="notify")
@click.option("--test", "test", is_flag=True, help="Send a word to each of them.")
@json_option('{"destinations":[kind,...],"troubles":[...]}')
@click.pass_context
def notify_command(ctx: click.Context, test: bool, as_json: bool) -> None:
    """Where messages go: got a box, job ended, guard about to fire, money low."""
    from gpubox import notify

    sent = notify.test() if test else notify.Sent(tuple(notify.kind(url) for url in notify.destinations()))
    if as_json:
        emit_json({"destinations": sent.kinds, "troubles": sent.troubles})
    else:
        _show_sent(sent, test=test, how=notify.HOW)
    if sent.troubles:
        ctx.exit(1)


def _show_sent(sent: Sent, *, test: bool, how: str) -> None:
    for kind in sent.kinds:
        click.echo(kind)
    for trouble in sent.troubles:
        click.echo(trouble, err=True)
    if not sent.kinds:
        click.echo(f"messages go nowhere: {how}", err=True)
    elif test and not sent.troubles:
        click.echo(f"sent to {len(sent.kinds)}; look whether it has arrived", err=True)


def _show(view: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    from gpubox.guard import line

    now = datetime.now(UTC)
    click.echo(f"{view['name']}  {line(view, now)}")
    for trouble in view.get("trouble") or []:
        click.echo(f"  ! {trouble}")
    if "looked_at" not in view:
        return
    emit_table(("LIMIT", "SET TO", "POWERS OFF"), [_limit_row(name, view, now.timestamp()) for name in view["limits"]
                                                  if name != "warn" and view["limits"][name] is not None])  # fmt: skip
    click.echo()
    emit_table(("WHAT IT SEES", ""), [*_seen_rows(view)])


def _limit_row(name: str, view: dict[str, Any], now: float) -> tuple[str, str, str]:
    from datetime import timedelta

    from gpubox.durations import in_words

    value = view["limits"][name]
    if name == "budget":
        shown = f"{value:g} {view['currency']}".strip()
        shown += f" ({view['spent']:.2f} spent)" if view["price_per_hour"] else " (no price is known)"
    else:
        shown = in_words(timedelta(seconds=value))
    at = view["deadlines"].get(name)
    left = f"in {in_words(timedelta(seconds=at - now))}" if at is not None else "-"
    return name, shown, left


def _seen_rows(view: dict[str, Any]) -> list[tuple[str, str]]:
    jobs, gpus = view["jobs"], view["gpus"]
    known = {
        "SSH sessions": _number(view["sessions"]),
        "jobs": ", ".join(jobs) or "none" if jobs is not None else "cannot tell",
        "requests": _number(view["requests"]),
        "GPUs": ", ".join(f"{percent:.0f}%" for percent in gpus) or "none" if gpus is not None else "cannot tell",
    }
    rows = list(known.items())
    return rows + [("cannot tell", words) for words in view["unknown"]]


def _number(value: int | None) -> str:
    return "cannot tell" if value is None else str(value)
