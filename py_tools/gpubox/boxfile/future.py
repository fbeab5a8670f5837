"""What box files can ask for and this version cannot bring about yet. A feature that arrives takes its line away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.boxfile.models import BoxFile


@dataclass(frozen=True, slots=True)
class NotYetItem:
    """A field whose value cannot be brought about: `what` it asks for, and the `hint` that works today."""

    field: str
    what: str
    hint: str


_LATER: tuple[tuple[str, Callable[[BoxFile], str | None], str], ...] = (
    ("count", lambda box: f"{box.count} boxes" if box.count > 1 else None, "write one box file for each box"),
    ("finetune", lambda box: f"the recipe {box.finetune.recipe}" if box.finetune else None, "remove `finetune`"),
)


def not_yet(box: BoxFile) -> list[NotYetItem]:
    """Every field of `box` that this version cannot bring about."""
    found = ((field, asks(box), hint) for field, asks, hint in _LATER)
    return [NotYetItem(field, what, hint) for field, what, hint in found if what]
