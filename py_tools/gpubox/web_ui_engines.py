"""What the web UI on this machine talks to: the engines and agents of every box whose box file says `on: laptop`.

One local box, `laptop`, runs that web UI for all of them. This is the file that it is made from, and its box file; the
file holds API keys (0600), the box file only their names.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gpubox import paths
from gpubox.boxfile.web_ui import agent_id
from gpubox.errors import Failed, Refused
from gpubox.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord

HOME_BOX = "laptop"
_HEAD = f"""\
# Written by gpubox for the box `{HOME_BOX}`, which runs the web UI of all boxes whose box file says `on: laptop`.
# What is changed here is overwritten: engines and agents come from those box files.
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An OpenAI API as this machine reaches it."""

    url: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def variable(self) -> str:
        """The name that stands for its key: of this address alone, so that a key never goes to another one."""
        return f"GPUBOX_ENGINE_{sha256(self.url.encode()).hexdigest()[:12].upper()}_API_KEY"


@dataclass(frozen=True, slots=True)
class Member:
    """A box with `on: laptop`. `life`: which one of that name, by the time at which it was made.

    `port`: where its engine is reached on this machine, None without an engine. `further`: other APIs that its box
    file names. `agents`: fields by the name that its box file gives; `name` in them is what the web UI shows.
    """

    box: str
    life: str
    web_ui_port: int
    admin_email: str
    port: int | None = None
    api_key: str | None = field(default=None, repr=False)
    further: tuple[Engine, ...] = ()
    agents: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All of them, the box's own first."""
        own = (Engine(f"http://127.0.0.1:{self.port}/v1", self.api_key),) if self.port else ()
        return (*own, *self.further)


def members() -> list[Member]:
    """Every box with `on: laptop` that the ledger still has, the one that came first at the head."""
    with Ledger() as ledger:
        alive = {(record.name, record.created_at.isoformat()) for record in ledger.boxes()}
    return [member for member in remembered() if (member.box, member.life) in alive]


def member(name: str) -> Member | None:
    """The one of that name, whether or not the ledger still has it."""
    return next((found for found in remembered() if found.box == name), None)


def remembered() -> list[Member]:
    """Every box with `on: laptop` that the web UI has been told of. Raises `Failed`."""
    try:
        data = json.loads(_file().read_text(encoding="utf-8"))
        return [Member(**{**item, "further": tuple(Engine(**engine) for engine in item["further"])}) for item in data]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Failed(
            f"the list of engines of the web UI on this machine cannot be read: {error}",
            where=str(_file()),
            hint="remove it; `gpubox up NAME` of each box with `on: laptop` writes it anew",
        ) from None


def joined(before: Sequence[Member], new: Member, free: Sequence[int] = ()) -> list[Member]:
    """With `new`, in its old place when it was there. Pure.

    A name for an agent that another box has already taken gets the box's name; the same agent in both is one. Whoever
    else has the new one's port has lost it while its tunnel was closed, and gets one of `free`.
    """
    old = next((member for member in before if member.box == new.box), None)
    others = [member for member in before if member.box != new.box]
    new = replace(new, agents=_named(new, others, old))
    spare = iter(free)
    moved = {
        other.box: replace(other, port=next(spare)) if other.port and other.port == new.port else other
        for other in others
    }
    if old is None:
        return [*moved.values(), new]
    return [moved.get(member.box, new) for member in before]


def left(before: Sequence[Member], name: str) -> list[Member]:
    """Without the box of that name. Pure."""
    return [member for member in before if member.box != name]


def engines(of: Sequence[Member]) -> list[Engine]:
    """The engines of all, each address once. Pure."""
    found: dict[str, Engine] = {}
    for engine in (engine for member in of for engine in member.engines):
        if engine.url not in found or found[engine.url].api_key is None:
            found[engine.url] = engine
    return list(found.values())


def box_file_text(of: Sequence[Member], *, port: int, admin_email: str) -> str:
    """The box file of `laptop`. Pure; without a key."""
    web_ui: dict[str, Any] = {"port": port, "admin_email": admin_email}
    if listed := engines(of):
        web_ui["engines"] = [
            {"url": engine.url, **({"api_key": engine.variable} if engine.api_key else {})} for engine in listed
        ]
    shown: dict[str, dict[str, Any]] = {}
    for agent in (agent for member in of for agent in member.agents.values()):
        shown.setdefault(agent["name"], agent)
    data = {"provider": "local", "web_ui": web_ui, **({"agents": list(shown.values())} if shown else {})}
    return _HEAD + yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=1000)


def keys() -> dict[str, str]:
    """The API keys of all engines, by the names that stand for them in the box file of `laptop`."""
    return {engine.variable: engine.api_key for engine in engines(remembered()) if engine.api_key}


def write(of: Sequence[Member]) -> None:
    """Keep these, 0600, at once and whole."""
    handle, temporary = tempfile.mkstemp(dir=paths.box_dir(HOME_BOX), prefix=f".{_file().name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump([asdict(member) for member in of], file, ensure_ascii=False, indent=1)
    Path(temporary).replace(_file())


def box_file() -> Path:
    """Where the box file of `laptop` lies."""
    return paths.box_dir(HOME_BOX) / f"{HOME_BOX}.yml"


def lock_file() -> Path:
    """Held by whoever changes any of this."""
    return paths.box_dir(HOME_BOX) / "web-ui-home.lock"


def refuse_a_stranger(name: str, box: BoxFile) -> None:
    """Raise `Refused` when `on: laptop` of the box `name` needs a name that a box of the person's own has."""
    ui = box.web_ui_settings
    if ui is None or ui.on != "laptop":
        return
    if name == HOME_BOX:
        raise Refused(
            f"`{HOME_BOX}` is the name of the box that runs the web UI on this machine, and cannot ask for one",
            where=name,
            hint="give the box file another name",
        )
    with Ledger() as ledger:
        record = ledger.find(HOME_BOX)
    if record is not None and not is_ours(record):
        raise Refused(
            f"a box of yours is called `{HOME_BOX}`, and `on: laptop` in the box file of `{name}` needs that name for"
            " the box that runs the web UI on this machine",
            where=HOME_BOX,
            hint=f"take it down (`gpubox down {HOME_BOX}`) and bring it up under another name, or set `on: box`",
        )


def is_ours(record: BoxRecord) -> bool:
    """Whether a box of that name is the one of the web UI, and not somebody's own."""
    return record.provider == "local" and record.box_file in {None, box_file()}


def _named(new: Member, others: Collection[Member], old: Member | None) -> dict[str, dict[str, Any]]:
    """The new one's agents under the names that they get."""
    taken = {agent_id(agent["name"]): agent for other in others for agent in other.agents.values()}
    found = {}
    for given, agent in new.agents.items():
        before = old.agents.get(given) if old is not None else None
        # A name that chats know already is kept as long as nobody else has it.
        wished = [str(before["name"])] if before is not None else []
        further = (f"{given} ({new.box}{f' {number}' if number else ''})" for number in itertools.count())
        for name in itertools.chain(wished, [given], further):
            fields = {**agent, "name": name}
            if taken.get(agent_id(name), fields) == fields:
                found[given] = fields
                break
    return found


def _file() -> Path:
    # Looked for by every tunnel: that alone makes no directory.
    return paths.data_dir() / "boxes" / HOME_BOX / "web-ui-home.json"
