"""What a test box shall be like."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any, Literal, TypedDict


def _password() -> str:
    # AutoDL's root passwords are 12 characters and contain `+` and `/`, which break careless quoting.
    return secrets.token_urlsafe(7)[:9] + "+/$"


def _hostname() -> str:
    return f"autodl-container-{secrets.token_hex(5)}-{secrets.token_hex(4)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of this machine, seen in the box at `target`."""

    source: str
    target: str
    writable: bool = False


class Wishes(TypedDict, total=False):
    """Keyword arguments of `TestBox`: the fields of `BoxOptions`, each of them optional."""

    password: str
    hostname: str
    network: Literal["empty", "host"]
    data_dir: str
    data_size: int | None
    data_read_only: bool
    memory: int | None
    cpus: float | None
    conda: bool
    binds: tuple[Bind, ...]
    files: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BoxOptions:
    """Sizes are in bytes; `None` means no limit.

    `network`: "empty" is a network namespace of the box's own with only `lo`; "host" keeps this machine's, with its way
    to the registries, but then the box's services share this machine's ports.
    """

    password: str = dataclasses.field(default_factory=_password, repr=False)
    hostname: str = dataclasses.field(default_factory=_hostname)
    network: Literal["empty", "host"] = "empty"
    data_dir: str = "/root/autodl-tmp"
    data_size: int | None = None
    data_read_only: bool = False
    memory: int | None = None
    cpus: float | None = None
    conda: bool = True
    binds: tuple[Bind, ...] = ()
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BoxOptions:
        """Inverse of `as_dict`."""
        return cls(**{**values, "binds": tuple(Bind(**bind) for bind in values["binds"])})
