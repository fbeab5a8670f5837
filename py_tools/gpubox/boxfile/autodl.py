"""The box file's section for boxes that are rented from AutoDL."""

from __future__ import annotations

from gpubox.boxfile.section import Section


class Autodl(Section):
    """What to rent from AutoDL, for `provider: autodl`."""
