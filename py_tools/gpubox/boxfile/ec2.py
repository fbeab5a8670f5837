"""The box file's section for boxes that are rented from Amazon EC2."""

from __future__ import annotations

from gpubox.boxfile.section import Section


class Ec2(Section):
    """What to rent from Amazon EC2, for `provider: ec2`."""
