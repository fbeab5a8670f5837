"""Commands about money: cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from gpubox.cli.show import emit_json, emit_table, json_option

if TYPE_CHECKING:
    from decimal import Decimal

    from gpubox.cost import Account, Cost, Line


@click.command(name="cost")
@click.option("--since", metavar="WHEN", help="As in 7d, 12h, 2026-11-01 or 2026-11-01T08:00 (UTC); else everything.")
@click.option(
    "--by", type=click.Choice(["box", "day", "provider"]), default="box", show_default=True, help="One line each."
)
@click.option("--offline", is_flag=True, help="Do not ask the accounts what is left; compare what was noted before.")
@json_option(
    '{"since","until","by","lines":[{"box"|"day"|"provider","provider","currency","amount"}],'
    '"totals":[{"currency","amount"}],"accounts":[{"provider","currency","from","to","balance_then","balance_now",'
    '"fell","reckoned","difference","rises":[{"from","to","rose","reckoned"}]}],"unpriced":[{"box","provider","hours"}],'
    '"notes":[...],"warnings":[...]}; money as strings'
)
def cost_command(since: str | None, by: Literal["box", "day", "provider"], offline: bool, as_json: bool) -> None:
    """What was spent, beside what the accounts' balances say.

    The ledger reckons price by time, days in UTC. FELL is by how much a balance fell between the first and the last
    time that it was noted; each `gpubox cost` notes it anew. Time in which a balance rose (money was put in) is left
    out of FELL and RECKONED.
    """
    from gpubox.cost import cost

    found = cost(since=since, by=by, offline=offline)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        emit_json(_as_dict(found))
        return
    _print(found)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)


def _print(found: Cost) -> None:
    from gpubox.words import money

    if not found.lines and not found.accounts:
        click.echo("nothing was spent that the ledger knows of", err=True)
    if found.lines:
        rows = [(line.key, line.provider or "-", money(line.amount, line.currency)) for line in found.lines]
        rows += [("total", "-", money(line.amount, line.currency)) for line in found.totals]
        keep = (0, 1, 2) if found.by == "box" else (0, 2)
        head = (found.by.upper(), "PROVIDER", "SPENT")
        emit_table([head[column] for column in keep], [[row[column] for column in keep] for row in rows])
    if found.accounts:
        if found.lines:
            click.echo()
        emit_table(
            ("ACCOUNT", "FROM", "TO", "BALANCE", "FELL", "RECKONED", "DIFFERENCE"),
            [_account_row(account) for account in found.accounts],
        )


def _account_row(account: Account) -> tuple[str, ...]:
    from gpubox.words import money

    def shown(amount: Decimal | None) -> str:
        return "-" if amount is None else money(amount, None)

    return (
        account.provider,
        f"{account.first.at:%Y-%m-%d %H:%M}",
        f"{account.last.at:%Y-%m-%d %H:%M}",
        money(account.last.amount, account.currency),
        shown(account.fell),
        shown(account.reckoned),
        shown(account.difference),
    )


def _as_dict(found: Cost) -> dict[str, Any]:
    from gpubox.words import exact

    return {
        "since": found.since.isoformat() if found.since else None,
        "until": found.until.isoformat(),
        "by": found.by,
        "lines": [_line(line, found.by) for line in found.lines],
        "totals": [{"currency": line.currency, "amount": exact(line.amount)} for line in found.totals],
        "accounts": [_account(account) for account in found.accounts],
        "unpriced": [
            {"box": row.box, "provider": row.provider, "hours": round(row.seconds / 3600, 4)} for row in found.unpriced
        ],
        "notes": list(found.notes),
        "warnings": list(found.warnings),
    }


def _line(line: Line, by: str) -> dict[str, str | None]:
    from gpubox.words import exact

    return {by: line.key, "provider": line.provider, "currency": line.currency, "amount": exact(line.amount)}


def _account(account: Account) -> dict[str, Any]:
    from gpubox.words import exact

    return {
        "provider": account.provider,
        "currency": account.currency,
        "from": account.first.at.isoformat(),
        "to": account.last.at.isoformat(),
        "balance_then": exact(account.first.amount),
        "balance_now": exact(account.last.amount),
        "fell": exact(account.fell),
        "reckoned": exact(account.reckoned),
        "difference": exact(account.difference),
        "rises": [
            {
                "from": rise.since.isoformat(),
                "to": rise.until.isoformat(),
                "rose": exact(rise.rose),
                "reckoned": exact(rise.reckoned),
            }
            for rise in account.rises
        ],
    }
