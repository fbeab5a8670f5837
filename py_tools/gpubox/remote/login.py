"""Where a box is reached and who we are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.errors import Failed

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.ledger import BoxRecord


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An SSH address. `proxy_jump` is what `ssh -J` takes: one or more `[user@]host[:port]`, joined by commas."""

    host: str
    port: int = 22
    user: str = "root"
    proxy_jump: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """All that a key-only login to one box needs. `host_key` is the pinned one, `ssh-ed25519 AAAA...`."""

    name: str
    endpoint: Endpoint
    identity_file: Path
    host_key: str

    @classmethod
    def of(cls, record: BoxRecord) -> Login:
        """The login of a box in the ledger. Raises `Failed` when the box was never logged in to."""
        if record.host is None or record.host_key is None or record.identity_file is None:
            raise Failed(
                f"box `{record.name}` has no login yet",
                where=record.name,
                hint=f"`gpubox up {record.name}` rents it, `gpubox add {record.name} 'ssh ...'` adopts yours",
            )
        endpoint = Endpoint(record.host, record.port or 22, record.user or "root", record.proxy_jump)
        return cls(record.name, endpoint, record.identity_file, record.host_key)
