"""What all sections of a box file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a box file: no unknown fields, never changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
