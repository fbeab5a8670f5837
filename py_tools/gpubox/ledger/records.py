"""What stands in the ledger, typed."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 -- pydantic evaluates annotations
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from gpubox.errors import UsageError

# intended: written before the provider is asked, so that a crash in between leaves a trace.
BoxState = Literal["intended", "running", "stopped", "released"]
Outcome = Literal["begun", "done", "failed"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?")


class BoxRecord(BaseModel):
    """One box. What is not known yet is None. Times are UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    provider: str
    provider_ref: str | None = None
    state: BoxState = "intended"
    host: str | None = None
    port: int | None = None
    user: str | None = None
    proxy_jump: str | None = None
    host_key: str | None = None
    identity_file: Path | None = None
    box_file: Path | None = None
    root: str | None = None
    data_dir: str | None = None
    facts: dict[str, Any] | None = None
    digest: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Audit(BaseModel):
    """One thing that was done with a box. Secrets in `detail` are hidden before they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    action: str
    outcome: Outcome
    detail: dict[str, Any]
    at: AwareDatetime


def check_name(name: str) -> str:
    """`name`, when it can name a box (and so a file, a directory and a host). Raises `UsageError`."""
    if _NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40].strip("-")
    raise UsageError(
        f"`{name}` cannot be the name of a box: up to 40 letters, digits and dashes, no dash at either end",
        hint=f"choose another name, as in `{plain or 'my-box'}`",
    )
