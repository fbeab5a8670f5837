"""`gpubox offers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpubox.cli.show import emit_json, emit_table, json_option

if TYPE_CHECKING:
    from gpubox.providers import Offer
    from gpubox.sifting import Sifted

_OPTIONAL = ("VCPU", "DRIVER/CUDA", "REGION", "NOTE")
_STOCK = {True: "yes", False: "no", None: "try"}


@click.command(name="offers")
@click.option("--gpu", metavar="CARD", help="As in 4090, `RTX 4090 D` or `A100 80GB`; 4090D is another card.")
@click.option("--count", type=click.IntRange(1, 64), default=1, show_default=True, help="Cards in one box, at least.")
@click.option("--ram", metavar="SIZE", help="Main memory of the whole box, at least, as in 480GB.")
@click.option(
    "--max-price", metavar="PRICE", help="Of the whole box per hour, at most, in the currency of each provider."
)
@click.option("--region", metavar="REGION", help="Only there, as the provider writes it.")
@click.option("--provider", "only", metavar="NAME", help="Only this one; else every configured account is asked.")
@json_option(
    '{"offers":[{"provider","sku","gpu","gpu_count","price_per_hour","currency","ram_gib","vcpus","vram_gib","driver",'
    '"cuda","region","in_stock":true|false|null,"note","unsure":[filter]}],"asked":[...],"warnings":[...],'
    '"nearest":{...}|null,"misses":[{"filter","wanted","has","passing"}]}'
)
def offers_command(
    gpu: str | None,
    count: int,
    ram: str | None,
    max_price: str | None,
    region: str | None,
    only: str | None,
    as_json: bool,
) -> None:
    """What can be rented now, and what it costs.

    Every configured account is asked at once; an account that fails is a warning. Of each kind of box the smallest one
    that fits is shown. A `?` stands where the provider does not say; what cannot be
    checked for that reason comes after what fits. Exit code 5 when nothing fits or is in stock.
    """
    from gpubox.offers import gib, money, offers
    from gpubox.providers import Wish
    from gpubox.sifting import no_match

    wish = Wish(
        gpu=gpu,
        count=count,
        ram_gib=gib(ram) if ram else None,
        max_price=money(max_price) if max_price else None,
        region=region,
    )
    market = offers(wish, only=only)
    sifted = market.sifted
    for warning in market.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        emit_json({**_as_dict(sifted), "asked": market.asked, "warnings": market.warnings})
    elif sifted.matches:
        _show(sifted)
    if not sifted.to_rent:
        raise no_match(sifted, wish)


def _as_dict(sifted: Sifted) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "offers": [{**_offer(match.offer), "unsure": match.unsure} for match in sifted.matches],
        "nearest": _offer(sifted.nearest) if sifted.nearest else None,
        "misses": [asdict(miss) for miss in sifted.misses],
    }


def _offer(offer: Offer) -> dict[str, Any]:
    price = offer.price
    return {
        "provider": offer.provider,
        "sku": offer.sku,
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "price_per_hour": str(price.per_hour) if price else None,
        "currency": price.currency if price else None,
        "ram_gib": offer.ram_gib,
        "vcpus": offer.vcpus,
        "vram_gib": offer.vram_gib,
        "driver": offer.driver,
        "cuda": offer.cuda,
        "region": offer.region,
        "in_stock": offer.in_stock,
        "note": offer.note,
    }


def _show(sifted: Sifted) -> None:
    """The table; its notes are sentences that many offers share, so they stand below it, numbered."""
    from gpubox.sifting import FILTERS

    notes = list(dict.fromkeys(note for match in sifted.matches for note in _notes(match.offer)))
    head = ("PROVIDER", "GPU", "PRICE/H", "RAM", "VCPU", "VRAM", "DRIVER/CUDA", "REGION", "IN STOCK", "NOTE")
    rows = [_row(match.offer, notes) for match in sifted.matches]
    empty = {name for column, name in enumerate(head) if all(row[column] in ("", "?", "?/?") for row in rows)}
    shown = [column for column, name in enumerate(head) if name not in empty.intersection(_OPTIONAL)]
    emit_table([head[column] for column in shown], [[row[column] for column in shown] for row in rows])
    for number, note in enumerate(notes, start=1):
        click.echo(f"note {number}: {note}", err=True)
    for name in FILTERS:
        if count := sum(name in match.unsure for match in sifted.matches):
            click.echo(
                f"not sure: {count} of {len(rows)} offers may fit or not, for their {name} is not said", err=True
            )


def _notes(offer: Offer) -> list[str]:
    return [note.strip() for note in (offer.note or "").split(";") if note.strip()]


def _row(offer: Offer, notes: list[str]) -> tuple[str, ...]:
    price = f"{offer.price.per_hour} {offer.price.currency}" if offer.price else "?"
    return (
        offer.provider,
        f"{offer.gpu} x{offer.gpu_count}",
        price,
        _memory(offer.ram_gib, offer),
        "?" if offer.vcpus is None else str(offer.vcpus),
        _memory(offer.vram_gib, offer),
        f"{offer.driver or '?'}/{offer.cuda or '?'}",
        offer.region or "?",
        _STOCK[offer.in_stock],
        ",".join(str(notes.index(note) + 1) for note in _notes(offer)),
    )


def _memory(gib: float | None, offer: Offer) -> str:
    """`480 GiB (4 x 120)`: memory comes with the cards, so it decides how many are rented."""
    if gib is None:
        return "?"
    if offer.gpu_count <= 1:
        return f"{gib:.0f} GiB"
    return f"{gib:.0f} GiB ({offer.gpu_count} x {gib / offer.gpu_count:.4g})"
