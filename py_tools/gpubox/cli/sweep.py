"""`gpubox sweep`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gpubox.cli.show import age, ask, emit_json, emit_table, json_option, yes_option
from gpubox.durations import in_words
from gpubox.words import exact, money

if TYPE_CHECKING:
    from gpubox.ledger import BoxRecord
    from gpubox.sighting import Sighting
    from gpubox.sweep import Given, Swept

_WORDS = {"known": "known", "released": "ALIVE AFTER RELEASE", "forgotten": "FORGOTTEN", "unknown": "UNKNOWN"}


@click.command(name="sweep")
@click.option("--adopt", "to_adopt", metavar="REF", help="Take this box into the ledger, under the name of --name.")
@click.option("--name", metavar="NAME", help="How the adopted box is called in the ledger.")
@click.option("--release", "to_release", metavar="REF", help="Give this box back, with all that is on it.")
@click.option(
    "--ignore",
    metavar="REF",
    multiple=True,
    help="A box that is other work of yours, as in `ec2:eu-*`; may come again.",
)
@yes_option
@json_option(
    '{"boxes":[{"ref","mark":"known|released|forgotten|unknown","name","name_field","state","billing","per_hour",'
    '"currency","gpu","gpu_count","region","created_at","erase_at","ledger_state","ignored"}],"missing":[{"name","provider",'
    '"provider_ref"}],"bills":[{"currency","per_hour","alarming","unpriced"}],"asked":[...],"not_asked":[{"provider",'
    '"error"}],"settled":[{"name","order","verdict","ref","at"}],"learned":[{"name","was","now"}],"unseen":[...],"funds":[{"provider",'
    '"amount","currency","hours","low"}]}'
)
def sweep_command(
    to_adopt: str | None, name: str | None, to_release: str | None, ignore: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Every box on every account, and which of them the ledger does not know.

    Every account that we have keys for is asked. Exit code 3 when a box that the ledger does not know costs money, 4 or
    5 when an account could not be asked. In a terminal it offers to adopt or to release each of them.
    """
    from gpubox.sweep import pick, sweep, verdict

    if to_adopt and to_release:
        raise click.UsageError("either `--adopt` or `--release`")
    if bool(to_adopt) != bool(name):
        raise click.UsageError("`--adopt REF --name NAME`: one needs the other")
    swept = sweep(ignore=ignore)
    if to_adopt and name:
        _adopt(pick(swept, to_adopt), name, as_json=as_json)
        return
    if to_release:
        given = _release(pick(swept, to_release), yes=yes)
        if as_json:
            from dataclasses import asdict

            emit_json(asdict(given))
        return
    if as_json:
        emit_json(_as_dict(swept))
    else:
        _show(swept)
        if sys.stdin.isatty() and _offer(swept):
            click.echo("\nand now:", err=True)
            swept = sweep(ignore=ignore)
            _show(swept)
    if trouble := verdict(swept):
        raise trouble


def _adopt(seen: Sighting, name: str, *, as_json: bool) -> None:
    from gpubox.sweep import adopt

    record: BoxRecord = adopt(seen, name)
    if as_json:
        emit_json({"name": record.name, "provider": record.provider, "provider_ref": record.provider_ref})
    click.echo(f"`{seen.ref}` is `{name}` in the ledger; next: `gpubox up {name}`, or `gpubox down {name}`", err=True)


def _release(seen: Sighting, *, yes: bool) -> Given:
    """Show what it costs and what is lost, ask, and give it back."""
    from gpubox.errors import Refused, UsageError
    from gpubox.sweep import last_backup, release

    if seen.mark == "known":
        raise UsageError(f"`{seen.ref}` is the box `{seen.name}` of the ledger", hint=f"gpubox down {seen.name}")
    box = seen.box
    click.echo(f"{seen.ref}  {box.name or '(no name)'}  {_cards(seen)}  {box.state}, {_price(seen)}", err=True)
    if box.created_at is not None:
        click.echo(f"  made {age(box.created_at)} ago", err=True)
    click.echo("  everything on its disks is lost: gpubox has not logged in to it, and brings nothing home", err=True)
    if backup := last_backup(seen):
        click.echo(f"  last backed up {age(backup.at)} ago: {backup.files} files in {backup.place}", err=True)
    click.echo(f"  to save files first: gpubox sweep --adopt {seen.ref} --name NAME, then gpubox down NAME", err=True)
    if not ask(f"power `{seen.ref}` off and release it?", yes=yes):
        raise Refused("nothing was done", where=seen.ref)
    given = release(seen, say=lambda words: click.echo(f"  {words}", err=True))
    # At most: when it was off before it was adopted, nobody here knows.
    spent = f"; it has cost {given.spent:.2f} {given.currency} at most" if given.spent is not None else ""
    click.echo(f"`{seen.ref}` is gone: its provider no longer lists it{spent}", err=True)
    return given


def _offer(swept: Swept) -> bool:
    """Ask about each box that the ledger does not know; whether anything was done."""
    from gpubox.cli.show import error_text
    from gpubox.errors import GpuboxError
    from gpubox.sweep import suggested_name

    done = False
    for seen in swept.boxes:
        if not seen.strange:
            continue
        question = f"\n{seen.ref} ({seen.box.name or 'no name'}, {_price(seen)}): [a]dopt, [r]elease, [s]kip"
        choice = click.Choice(["a", "r", "s"], case_sensitive=False)
        answer = click.prompt(question, type=choice, default="s", show_choices=False, err=True)
        try:
            if answer == "a":
                name = click.prompt("its name in the ledger", default=suggested_name(seen), err=True)
                _adopt(seen, name, as_json=False)
            elif answer == "r":
                _release(seen, yes=False)
        except GpuboxError as error:
            # The other boxes are still to be asked about; what is left undone shows in the sweep that follows.
            click.echo(error_text(error), err=True)
        done = done or answer != "s"
    return done


def _show(swept: Swept) -> None:
    if swept.boxes:
        emit_table(
            ("BOX", "LEDGER", "NAME", "STATE", "GPU", "PER HOUR", "REGION", "MADE", "ERASED"),
            [_row(seen) for seen in swept.boxes],
        )
    elif swept.asked:
        click.echo(f"no box on {', '.join(swept.asked)}", err=True)
    _show_money(swept)
    for gone in swept.missing:
        words = f"`{gone.name}` ({gone.provider}:{gone.provider_ref}) is in the ledger, and its provider has it no more"
        click.echo(f"{words}; `gpubox down {gone.name}` closes it", err=True)
    for change in swept.learned:
        if change.was != change.now:
            click.echo(f"`{change.name}` is {change.now}; the ledger said {change.was}, and knows it now", err=True)
    for one in swept.settled:
        click.echo(_settled_words(one.name, one.verdict, one.ref), err=True)
    for answer in swept.not_asked:
        click.echo(f"warning: {answer.warning}", err=True)
    for words in swept.troubles:
        click.echo(f"warning: {words}", err=True)
    for words in swept.unseen:
        click.echo(f"note: {words}", err=True)


def _show_money(swept: Swept) -> None:
    for bill in swept.bills:
        price = f"{bill.per_hour} {bill.currency} per hour" if bill.currency else "at a price that is not known"
        alarming = f", of which the ledger does not know {bill.alarming}" if bill.alarming else ""
        unpriced = f" ({bill.unpriced} of unknown price)" if bill.unpriced and bill.currency else ""
        click.echo(f"billing now: {price}{unpriced}{alarming}", err=True)
    for left in swept.funds:
        if left.lasts is not None:
            words = f"`{left.provider}` has {money(left.amount, left.currency)} left, enough for {in_words(left.lasts)}"
            click.echo(f"warning: {words}" if left.low else words, err=True)


def _settled_words(name: str, verdict: str, ref: str | None) -> str:
    if verdict == "rented":
        return f"the rental of `{name}` was cut off, and it is there: `{ref}`; next: gpubox up {name}, or gpubox down"
    if verdict == "nothing":
        return f"the rental of `{name}` was cut off, and nothing came of it; the name is free"
    return f"the rental of `{name}` was cut off a moment ago, and may still come; look again in a few minutes"


def _row(seen: Sighting) -> tuple[str, ...]:
    box = seen.box
    state = f"{box.state} (in the ledger: {seen.ledger_state})" if seen.ledger_state else box.state
    return (
        seen.ref,
        "ignored" if seen.ignored else _WORDS[seen.mark],
        seen.name if seen.mark == "known" and seen.name else box.name or "-",
        state,
        _cards(seen),
        _price(seen),
        box.region or "-",
        f"{age(box.created_at)} ago" if box.created_at else "-",
        f"{box.erase_at:%Y-%m-%d}" if box.erase_at else "-",
    )


def _cards(seen: Sighting) -> str:
    return f"{seen.box.gpu} x{seen.box.gpu_count or 1}" if seen.box.gpu else "-"


def _price(seen: Sighting) -> str:
    if not seen.box.billing:
        return "not billed"
    return f"{seen.per_hour} {seen.currency}/h" if seen.per_hour is not None else "billed, price unknown"


def _as_dict(swept: Swept) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "boxes": [_sighting(seen) for seen in swept.boxes],
        "missing": [asdict(gone) for gone in swept.missing],
        "bills": [asdict(bill) for bill in swept.bills],
        "asked": swept.asked,
        "not_asked": [
            {"provider": answer.provider, "error": answer.error.message} for answer in swept.not_asked if answer.error
        ],
        "settled": [asdict(one) for one in swept.settled],
        "unseen": swept.unseen,
        "learned": [asdict(change) for change in swept.learned],
        "funds": [
            {
                "provider": left.provider,
                "amount": exact(left.amount),
                "currency": left.currency,
                "hours": round(left.lasts.total_seconds() / 3600, 2) if left.lasts is not None else None,
                "low": left.low,
            }
            for left in swept.funds
        ],
    }


def _sighting(seen: Sighting) -> dict[str, Any]:
    box = seen.box
    return {
        "ref": seen.ref,
        "mark": seen.mark,
        "name": seen.name,
        "name_field": box.name,
        "state": box.state,
        "billing": box.billing,
        "per_hour": seen.per_hour,
        "currency": seen.currency,
        "gpu": box.gpu,
        "gpu_count": box.gpu_count,
        "region": box.region,
        "created_at": box.created_at.isoformat() if box.created_at else None,
        "erase_at": box.erase_at.isoformat() if box.erase_at else None,
        "ledger_state": seen.ledger_state,
        "ignored": seen.ignored,
    }
