"""`prepare: without-gpu`: what takes long and needs no GPU is done while the box is started without it, and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gpubox.errors import GpuboxError, Unreachable
from gpubox.providers.clock import WALL
from gpubox.renting import power_off, power_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from typing import Literal

    from gpubox.converge.progress import Board
    from gpubox.ledger import Audit, BoxRecord, Ledger
    from gpubox.providers import Provider
    from gpubox.providers.clock import Clock

    Progress = Literal["not begun", "begun", "done"]


@runtime_checkable
class WithoutGpu(Protocol):
    """A provider that can start a stopped box without its GPU."""

    def power_on_without_gpu(self, record: BoxRecord) -> None:
        """Start it so. Raises `Refused` or `NoStock` where that cannot be."""


def progress(audits: Iterable[Audit]) -> Progress:
    """How far the preparation of a box is; one that was cut off may have left it without its GPU."""
    last: Progress = "not begun"
    for audit in audits:
        if audit.action == "prepare":
            last = "begun" if audit.outcome == "begun" else "done"
    return last


def prepare(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    board: Board,
    *,
    look: Callable[[BoxRecord], BoxRecord],
    fetch: Callable[[BoxRecord], None],
    wait: timedelta | None = None,
    clock: Clock = WALL,
) -> BoxRecord:
    """The new box, running with its GPU, after `fetch` has run on it without; once in the life of a box.

    `look` judges the box while it has its GPU: what cannot be is found out before anything is downloaded. Where the
    provider, or that card, cannot be started so, that is said, and all is done with the GPU. Raises what `look` raises,
    `NoStock` when no card is free afterwards, and what a power change raises.
    """
    name = record.name
    done = progress(ledger.audits(name))
    if done == "done":
        return record
    if not isinstance(source, WithoutGpu):
        board.note(f"`{record.provider}` cannot start a box without its GPU: downloads run with it")
        ledger.audit(name, "prepare", "done", {"without_gpu": False})
        return record
    if done == "not begun":
        record = look(record)
        ledger.audit(name, "prepare", "begun", {})
    with board.step("power off"):
        record = power_off(ledger, record, source)
    try:
        record = power_on(ledger, record, source, board, switch=source.power_on_without_gpu, clock=clock)
        fetch(record)
    except Unreachable:
        raise
    except GpuboxError as error:
        board.note(f"downloads go on with the GPU: {error.message}")
    return with_gpu(ledger, ledger.get(name), source, board, wait=wait, clock=clock)


def with_gpu(
    ledger: Ledger,
    record: BoxRecord,
    source: Provider,
    board: Board,
    *,
    wait: timedelta | None = None,
    clock: Clock = WALL,
) -> BoxRecord:
    """The end of a preparation, finished or cut off: the box with its GPU."""
    with board.step("power off"):
        record = power_off(ledger, record, source)
    ledger.audit(record.name, "prepare", "done", {"without_gpu": True})
    return power_on(ledger, record, source, board, wait=wait, clock=clock)
