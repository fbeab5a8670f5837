"""`gpubox up --dry-run`: what would be done, with what, for how long, on how much disk. Changes and rents nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox import builds, model_copy, models, ollama_registry, preflight
from gpubox.boxfile import load, not_yet
from gpubox.boxfile.models import SMALL_GPT
from gpubox.builds.matrix import matrix
from gpubox.builds.plan import Estimated, Step
from gpubox.converge import bundle as bundles
from gpubox.converge.variables.models import name as model_name
from gpubox.errors import AuthFailed, GpuboxError, Unreachable, UsageError
from gpubox.ledger import Ledger
from gpubox.places import find_box_file
from gpubox.preflight.case import Case, size
from gpubox.preflight.findings import Finding, Findings, blocker, ok, warning
from gpubox.providers import provider
from gpubox.remote.facts import Facts, read_facts
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.up import wanted

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord

# Space that is left free besides: logs, results, caches.
_SPARE = 2 * 10**9
_OLLAMA = "Ollama's registry"


@dataclass(frozen=True, slots=True)
class DryRun(Estimated):
    """What `up` would do. `facts` None: there is no box to ask. `free`: bytes on its data disk, None: not known.

    `seconds` is about how long it takes, at least that where `at_least`; `disk_bytes` about what it puts on the disk.
    """

    name: str
    state: str
    findings: Findings
    plan: builds.Plan
    models: tuple[models.Forecast, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    facts: Facts | None = None
    free: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "state": self.state,
            "findings": self.findings.as_dicts(),
            "plan": self.plan.as_dict(),
            "models": [forecast._asdict() for forecast in self.models],
            "seconds": self.seconds,
            "at_least": self.at_least,
            "disk_bytes": self.disk_bytes,
            "disk_free": self.free,
            "notes": list(self.notes),
        }


def dry_run(name: str, box_file: Path | None = None) -> DryRun:
    """What `gpubox up NAME` would do: the box is only read, the hubs are only asked for lists, nothing is written.

    Raises `UnknownBox` and `BoxFileError`; a box or hub that does not answer is a note.
    """
    path = find_box_file(name, box_file)
    box = load(path)
    with Ledger() as ledger:
        record = ledger.find(name)
    notes: list[str] = []
    facts, state = _look(name, record, box, notes)
    plan = builds.resolve(facts, box)
    found = [blocker(item.field, f"this version cannot bring about {item.what}", item.hint) for item in not_yet(box)]
    if facts is not None:
        found += preflight.plan(facts, box).items
    else:
        found += [blocker(item.check, item.message, item.fix) for item in plan.refusals]
        found += [warning(item.check, item.message, item.fix) for item in plan.warnings]
    forecasts = _models(name, box, notes, found)
    fetches = (
        [Step("model", None, 0, 0, "its size is not known", "model")] if forecasts is None else map(_fetch, forecasts)
    )
    steps = (*plan.steps, *fetches)
    free = None
    if facts is not None:
        disk = Case(facts, box).data_disk
        free = disk.free if disk is not None else None
    standing = record is not None and record.digest is not None
    if not standing:
        found += _room(sum(step.disk for step in steps), free)
    elif record is not None and facts is not None:
        notes.append(_standing(name, record, box, facts))
    return DryRun(name, state, Findings.of(found), plan, forecasts or (), steps, tuple(notes), facts, free)


def decided(name: str, box_file: Path | None, facts: Facts) -> builds.Plan:
    """What the resolver says of the box file of `name` on the box behind `facts`."""
    return builds.resolve(facts, load(find_box_file(name, box_file)))


def _look(name: str, record: BoxRecord | None, box: BoxFile, notes: list[str]) -> tuple[Facts | None, str]:
    """The box's facts, read now or as they were last; and what the box is."""
    if record is None or record.host is None or record.state in ("intended", "released"):
        notes += _not_there(name, box)
        return None, "not there yet"
    remembered = Facts.model_validate(record.facts) if record.facts else None
    if record.state == "stopped":
        notes.append(
            f"`{name}` is powered off; `gpubox up {name}` powers it on first. Its facts are those of last time"
        )
        return remembered, "stopped"
    try:
        with Host(Login.of(record)) as host:
            return read_facts(host, box.data_dir, ports=preflight.wanted_ports(box).values()), "running"
    except Unreachable as error:
        words = "the facts are those of last time" if remembered else "nothing is known of it yet"
        notes.append(f"`{name}` does not answer ({error.message}); {words}")
        return remembered, "does not answer"


def _not_there(name: str, box: BoxFile) -> list[str]:
    if box.provider == "attach":
        return [f'`{name}` has not been added: gpubox add {name} "ssh -p PORT root@HOST"; then this tells more']
    if box.provider == "local":
        return ["the box is made on this machine, by this machine's programs"]
    gpu = f" with {box.gpu.count} x {box.gpu.name}" if box.gpu else ""
    price = f", for at most {box.max_price:g} an hour" if box.max_price is not None else ""
    count = f"{box.count} boxes" if box.count > 1 else "a box"
    words = f"{count}{gpu} would be rented from {box.provider}{price}; `gpubox offers` says what there is now"
    bills = "; it bills from then on" if provider(box.provider).bills else ""
    return [
        words + bills,
        "its driver, C library, Python and disk are known once it is there; then preflight judges them",
    ]


def _models(name: str, box: BoxFile, notes: list[str], found: list[Finding]) -> tuple[models.Forecast, ...] | None:
    """What the models come to; None where nobody could say."""
    if box.model == SMALL_GPT:
        notes.append("small-gpt is trained on the box: about a minute, no download")
    try:
        return (*models.forecast(box), *_copied(name, box), *_pulled(box))
    except (Unreachable, AuthFailed) as error:
        hint = f" ({error.hint})" if error.hint else ""
        notes.append(f"how large the model is could not be found out: {error.message}{hint}")
        return None
    except GpuboxError as error:
        found.append(blocker("model", error.message, error.hint or "see docs/models.md"))
    return ()


def _copied(name: str, box: BoxFile) -> tuple[models.Forecast, ...]:
    """A model of this machine, or of another box, which is asked for its list."""
    model = model_copy.copied(box)
    if model is None:
        return ()
    files, size_of_all = model_copy.forecast(name, model)
    origin = "this machine" if model.source == "folder" else f"`{model.box}`"
    return (models.Forecast(model_name(model), origin, files, size_of_all),)


def _pulled(box: BoxFile) -> tuple[models.Forecast, ...]:
    """What Ollama pulls."""
    if box.ollama is None or box.engine != "ollama":
        return ()
    sizes = {model: ollama_registry.size(model) for model in box.ollama.models}
    return tuple(models.Forecast(model, _OLLAMA, *found) for model, found in sizes.items())


def _fetch(forecast: models.Forecast) -> Step:
    hub = forecast.source in ("modelscope", "huggingface", _OLLAMA)
    # How quick the line of this machine, or between two boxes, is, nobody knows before.
    seconds = forecast.bytes / matrix().estimate("rate") if hub else None
    why = f"{forecast.files} file{'s' * (forecast.files != 1)} from {forecast.source}"
    # Ollama pulls one after the other.
    chain = _OLLAMA if forecast.source == _OLLAMA else forecast.name
    return Step(f"model {forecast.name}", seconds, forecast.bytes, forecast.bytes, why, chain=chain)


def _room(needed: float, free: int | None) -> list[Finding]:
    """All that is to come, held against the data disk; preflight itself leaves models out."""
    if free is None:
        return []
    if needed + _SPARE > free:
        return [
            blocker(
                "disk-forecast",
                f"about {size(needed)} are to come, with models, and the data disk has {size(free)} free",
                "enlarge the disk in the provider's console, set `data_dir` to a bigger one, or choose a smaller model",
            )
        ]
    return [ok("disk-forecast", f"about {size(needed)} are to come, with models; the data disk has {size(free)} free")]


def _standing(name: str, record: BoxRecord, box: BoxFile, facts: Facts) -> str:
    """Whether anything would change on a box that was converged before."""
    fresh = record.model_copy(update={"facts": facts.model_dump(mode="json")})
    try:
        _, digest = wanted(fresh, box, bundles.build())
    except UsageError as error:
        return f"`gpubox up {name}` would end at once: {error.message}" + (f" ({error.hint})" if error.hint else "")
    if digest == record.digest:
        return f"`{name}` is what its box file says: `gpubox up` asks it once and changes nothing while all is well"
    return f"`{name}` stands already; its box file or gpubox has changed since: the playbook runs, and keeps what fits"
