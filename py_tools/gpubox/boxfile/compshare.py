"""The box file's section for boxes that are rented from CompShare."""

from __future__ import annotations

from gpubox.boxfile.section import Section


class Compshare(Section):
    """What to rent from CompShare, for `provider: compshare`."""
