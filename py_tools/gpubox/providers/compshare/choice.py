"""What to rent, decided from CompShare's answers: which kind of card, which size of box, which image, at what price."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpubox.cards import card, same_card
from gpubox.errors import Failed, NoStock, UsageError
from gpubox.providers.base import Price
from gpubox.providers.compshare.hosts import CURRENCY, HOURS, per_hour
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_UBUNTU = re.compile(r"ubuntu[^0-9]*([0-9]{2})", re.IGNORECASE)
_OLDEST_UBUNTU = 22
_SOLD_OUT = "soldout"


@dataclass(frozen=True, slots=True)
class Size:
    """A box of one kind of card. `enough`: whether CompShare has one now, None when it was not asked."""

    gpus: int
    cpus: int
    ram_gib: int
    enough: bool | None = None

    def __str__(self) -> str:
        return f"{self.gpus} x GPU, {self.cpus} vCPUs, {self.ram_gib} GiB"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of card in one zone, with the sizes of box that it comes in."""

    name: str
    zone: str
    vram_gib: float | None
    sold_out: bool
    sizes: tuple[Size, ...]


def kinds(answer: Mapping[str, Any], zone: str) -> list[Kind]:
    """The kinds in an answer of `DescribeAvailableCompShareInstanceTypes` on `zone`, whose memory is in GB."""
    found = []
    for item in answer.get("AvailableInstanceTypes") or []:
        sizes = tuple(
            Size(int(size["Gpu"]), int(row["Cpu"]), int(memory))
            for size in item.get("MachineSizes") or []
            for row in size.get("Collection") or []
            for memory in row.get("Memory") or []
        )
        vram = (item.get("GraphicsMemory") or {}).get("Value")
        sold_out = str(item.get("Status") or "").casefold() == _SOLD_OUT
        if item.get("Name") and item.get("Zone") in (None, "", zone) and any(size.gpus for size in sizes):
            found.append(Kind(str(item["Name"]), zone, float(vram) if vram else None, sold_out, sizes))
    return found


def choose_card(wanted: str, there: Sequence[Kind]) -> str:
    """CompShare's name of the card that `wanted` means: of `4090` and `4090_48G`, the latter only when asked for.

    Raises `UsageError`, naming all cards.
    """
    names = dict.fromkeys(kind.name for kind in there)
    for name in names:
        if name.casefold() == wanted.strip().casefold():
            return name
    same = [kind.name for kind in there if same_card(wanted, kind.name, kind.vram_gib)]
    if same:
        return min(same, key=lambda name: (card(name).memory is not None, name))
    near = did_you_mean(wanted, names)
    raise UsageError(
        f"CompShare rents no `{wanted}`" + (f"; did you mean `{near}`?" if near else ""),
        where="gpu.name",
        hint=f"choose one of: {', '.join(sorted(names))}" if names else "`gpubox offers` lists what can be rented",
    )


def sizes(answer: Mapping[str, Any]) -> list[Size]:
    """The sizes in an answer of `CheckCompShareResourceCapacity`."""
    return [
        Size(int(item["Gpu"]), int(item["Cpu"]), int(item["Mem"]), item.get("ResourceEnough") is True)
        for item in answer.get("Specs") or []
    ]


def choose_size(there: Sequence[Size], *, gpus: int, cpus: int | None = None, ram_gib: float | None = None) -> Size:
    """The smallest size that has it all and is in stock.

    Raises `UsageError` when there is none of that kind at all, which waiting does not change, and `NoStock`.
    """
    fits = [size for size in there if size.gpus == gpus and size.cpus >= (cpus or 0) and size.ram_gib >= (ram_gib or 0)]
    if not fits:
        raise UsageError(_no_size(there, gpus), where="compshare", hint=_bigger(there, gpus, cpus or 0, ram_gib or 0))
    stock = [size for size in fits if size.enough is not False]
    if not stock:
        raise NoStock(
            f"CompShare has no box of {min(fits, key=_smaller)} in stock",
            where="compshare",
            hint="`gpubox up NAME --wait 2h` tries until there is one",
        )
    return min(stock, key=_smaller)


def sizes_for(kind: Kind, *, count: int, ram_gib: float | None) -> list[Size]:
    """One size for each number of cards that makes sense: from `count` on, until the memory is enough.

    The smallest with enough memory; the largest where none has.
    """
    chosen: list[Size] = []
    for gpus in sorted({size.gpus for size in kind.sizes if size.gpus >= count}):
        of_count = [size for size in kind.sizes if size.gpus == gpus]
        fits = [size for size in of_count if size.ram_gib >= (ram_gib or 0) * 0.999]
        chosen.append(min(fits, key=_smaller) if fits else max(of_count, key=_smaller))
        if fits:
            break
    return chosen


def choose_image(images: Iterable[Mapping[str, Any]], gpu: str) -> str:
    """The id of the smallest free image with Ubuntu 22.04 or newer that goes with the card.

    Only the driver matters, and that is the machine's: gpubox brings its own Python and CUDA. Raises `Failed`.
    """
    fits = [image for image in images if _usable(image, gpu)]
    if not fits:
        raise Failed(
            f"CompShare's list has no free Ubuntu image for the card `{gpu}`",
            where="compshare.image",
            hint="choose one at https://console.compshare.cn, and write its id (compshareImage-...) "
            "into the box file: `compshare.image`",
        )
    best = min(fits, key=lambda image: (int(image.get("Size") or 1 << 30), str(image["CompShareImageId"])))
    return str(best["CompShareImageId"])


def quote(answer: Mapping[str, Any], charge: str) -> Price | None:
    """The price in an answer of `GetCompShareInstancePrice`; None when it has none for that way of payment."""
    details = answer.get("PriceDetails") or answer.get("PriceDetail") or []
    of_charge = [item for item in details if item.get("ChargeType", charge) == charge]
    if not of_charge or charge not in HOURS:
        return None
    item = of_charge[0]
    parts = {name: per_hour(item.get(name), charge) for name in ("Instance", "Disks", "SystemDisks", "CompShareImage")}
    if not parts["Instance"]:
        return None
    running = sum((part for part in parts.values() if part is not None), Decimal(0))
    off = running - parts["Instance"] if charge == "Postpay" else running
    return Price(running, CURRENCY, off)


def _smaller(size: Size) -> tuple[int, int, int]:
    return size.gpus, size.ram_gib, size.cpus


def _no_size(there: Sequence[Size], gpus: int) -> str:
    of_count = [size for size in there if size.gpus == gpus]
    if of_count:
        return f"CompShare's largest box with {gpus} of these cards is {max(of_count, key=_smaller)}"
    counts = sorted({size.gpus for size in there})
    return f"CompShare has no box with {gpus} of these cards" + (f", only with {_or(counts)}" if counts else "")


def _bigger(there: Sequence[Size], gpus: int, cpus: int, ram_gib: float) -> str:
    more = [size for size in there if size.gpus > gpus and size.cpus >= cpus and size.ram_gib >= ram_gib]
    if more:
        return f"more cards bring more: `gpu.count: {min(more, key=_smaller).gpus}`, or ask for less"
    return "ask for less: `gpu.count`, `compshare.cpus`, `compshare.ram_gib`"


def _or(counts: Sequence[int]) -> str:
    return " or ".join(filter(None, (", ".join(map(str, counts[:-1])), str(counts[-1]))))


def _usable(image: Mapping[str, Any], gpu: str) -> bool:
    software = image.get("Softwares") or {}
    system = str(software.get("OsVersion") or image.get("Name") or "") if isinstance(software, dict) else ""
    ubuntu = _UBUNTU.search(system) or _UBUNTU.search(str(image.get("Name") or ""))
    cards = image.get("SupportedGpuTypes") or []
    return (
        bool(image.get("CompShareImageId"))
        and image.get("Status", "Available") == "Available"
        and not image.get("Price")
        and ubuntu is not None
        and int(ubuntu[1]) >= _OLDEST_UBUNTU
        and (not cards or gpu in cards)
    )
