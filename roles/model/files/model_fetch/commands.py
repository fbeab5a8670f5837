"""What is done at once, without a job: plans, with the disk's forecast, and looking after what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_fetch import copied, disk, manifest, plan
from model_fetch.errors import DiskFull, Trouble
from model_fetch.plan import Plan
from model_fetch.spec import COPIED
from model_fetch.words import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_fetch.spec import Spec


def plans(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    """One plan for each: `ready`, `missing_bytes` and what `Plan.as_json` says.

    A model that is there whole needs no hub, and one that was begun keeps its commit. Raises `Trouble`: also when all
    that is missing does not fit on the disk.
    """
    found = [_copied(spec) if spec.source == COPIED else _planned(spec) for spec in specs]
    _fits([(spec, missing) for spec, (_, missing, _) in zip(specs, found, strict=True) if spec.directory])
    return [{**made.as_json(), "missing_bytes": missing, "ready": ready} for made, missing, ready in found]


def _copied(spec: Spec) -> tuple[Plan, int, bool]:
    """How much is missing only the side knows that copies."""
    return Plan(spec.key, spec.name, spec.source, spec.id, "", "", False, ()), 0, copied.ready(spec)


def _planned(spec: Spec) -> tuple[Plan, int, bool]:
    if not spec.directory:
        made = plan.make(spec)[0]
        return made, made.bytes, False
    directory = Path(spec.directory)
    there = None if spec.refresh else manifest.ready(spec)
    if there is not None:
        return there, 0, True
    begun = None if spec.refresh else manifest.kept(directory)
    if begun is None or begun.key != spec.key:
        begun = plan.make(spec)[0]
    ready = spec.refresh and _same(manifest.ready(spec), begun)
    return begun, manifest.there(directory, begun).missing, ready


def _same(there: Plan | None, wanted: Plan) -> bool:
    return (
        there is not None
        and {(file.path, file.size) for file in there.files} == {(file.path, file.size) for file in wanted.files}
        and (there.revision == wanted.revision if wanted.pinned else True)
    )


def _fits(wanted: Sequence[tuple[Spec, int]]) -> None:
    """Models of one disk have to fit on it together."""
    disks: dict[int, list[tuple[Spec, int]]] = {}
    for spec, missing in wanted:
        disks.setdefault(disk.device(Path(spec.directory)), []).append((spec, missing))
    for models in disks.values():
        first = models[0][0]
        total = sum(missing for _, missing in models)
        where = Path(first.directory) if len(models) == 1 else Path(first.directory).parent
        try:
            disk.check(total, where, disk.free(where), first.settings.min_free_bytes)
        except DiskFull as error:
            if len(models) == 1:
                raise
            parts = ", ".join(f"{spec.name} {size(missing)}" for spec, missing in models)
            raise DiskFull(f"{error} ({parts})") from error


def verify(specs: Sequence[Spec], *, full: bool) -> None:
    """Compare what is there with its manifest. Raises `Trouble` naming the first file that is not as it was."""
    for spec in specs:
        if spec.source == COPIED:
            for sentence in copied.wrong(spec):
                raise Trouble(sentence)
            continue
        directory = Path(spec.directory)
        there = manifest.read(directory)
        if there is None or there.key != spec.key:
            words = "holds no finished model" if there is None else "holds another model than the one asked for"
            raise Trouble(f"`{directory}` {words}", "run the role `model` again (`gpubox up`)")
        wrong = manifest.checksums(directory, there) if full else manifest.sizes(directory, there)
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise Trouble(f"{wrong[0]}{more}", f"`rm {directory / manifest.NAME}` and run `gpubox up` again")
